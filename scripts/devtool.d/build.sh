# SPDX-License-Identifier: GPL-2.0-or-later
verb_build() { # installs what is missing and builds the programs into build/bin
    prepare
    echo "programs: $(cd "$build_dir/bin" 2>/dev/null && find . -maxdepth 1 -type f -executable -printf "$build_dir/bin/%f ")"
}
