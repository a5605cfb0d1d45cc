# SPDX-License-Identifier: GPL-2.0-or-later
verb_help() { # this list
    echo "usage: ./devtool VERB [ARGUMENTS]"
    echo
    local file verb text
    for file in scripts/devtool.d/*.sh; do
        verb=$(basename "$file" .sh)
        text=$(sed -n "s/^verb_$verb() { # //p" "$file")
        [ -z "$text" ] || printf '  %-8s %s\n' "$verb" "$text"
    done
    echo
    echo "./devtool VERB --help says what it takes. Each verb first installs the Debian packages that are missing (as root, or by sudo)."
}
