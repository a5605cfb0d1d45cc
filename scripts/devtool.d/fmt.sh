# SPDX-License-Identifier: GPL-2.0-or-later
verb_fmt() { # formats all C and C++ files
    install_packages
    own_files '*.cpp' '*.h' '*.c' | xargs -r clang-format -i
}
