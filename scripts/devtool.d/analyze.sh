# SPDX-License-Identifier: GPL-2.0-or-later
verb_analyze() { # clang-tidy with its static analyzer over all sources
    prepare
    tidy
}
