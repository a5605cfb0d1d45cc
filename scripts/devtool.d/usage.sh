# SPDX-License-Identifier: GPL-2.0-or-later
# What each verb takes is said once, in its usage_VERB: a line for each form. A form may begin with a word of its own;
# [--option] and [--option VALUE] may be given, [VALUE] is one word more. As a value N is a number, another word in
# capitals any text, a|b one of these. The help shows it, and read_arguments holds the command line against it: a wrong
# word is told before anything is installed or built, not minutes later.

# say_usage VERB
say_usage() {
    local forms=usage_$1 form start="usage:"
    while IFS= read -r form; do
        echo "$start ./devtool $1${form:+ $form}"
        start="      "
    done <<<"${!forms:-}"
    sed -n "s/^verb_$1() { # /  /p" "scripts/devtool.d/$1.sh"
}

wrong_usage() {
    echo "devtool $verb: $1" >&2
    say_usage "$verb" >&2
    exit 2
}

# value_fits VALUE KIND
value_fits() {
    case $2 in
    N) [[ $1 =~ ^[0-9]+$ ]] ;;
    [A-Z]*) [ -n "$1" ] ;;
    *) [[ -n $1 && "|$2|" == *"|$1|"* ]] ;;
    esac
}

# say_kind KIND
say_kind() {
    [ "$1" = N ] && echo "a number" || echo "$1"
}

# form_for WORD: prints the form that begins with the word, or that which begins with none. False if there is none.
form_for() {
    local forms=usage_$verb form otherwise found=1
    while IFS= read -r form; do
        if [ -n "$1" ] && [ "${form%% *}" = "$1" ]; then
            echo "$form"
            return
        fi
        [[ -n $form && $form != \[* ]] || otherwise=$form found=0
    done <<<"${!forms:-}"
    echo "${otherwise:-}"
    return "$found"
}

# read_option FORM OPTION NEXT: false if the next word is its value.
read_option() {
    local form=$1 name=${2%%=*} kind value=$3
    [[ $form != *"[$2]"* ]] || return 0
    [[ $form =~ \["$name"\ ([^]]+)\] ]] || wrong_usage "there is no option $2 here"
    kind=${BASH_REMATCH[1]}
    [ "$name" = "$2" ] || value=${2#*=}
    value_fits "$value" "$kind" || wrong_usage "$name takes $(say_kind "$kind"), not '$value'"
    [ "$name" != "$2" ]
}

# read_arguments ARGUMENT…: of $verb; ends here with help, or with what is wrong.
read_arguments() {
    local argument form words
    for argument; do
        if [ "$argument" = --help ] || [ "$argument" = -h ]; then
            say_usage "$verb"
            exit 0
        fi
    done
    form=$(form_for "${1:-}") || wrong_usage "one of these is needed first"
    [ -z "${1:-}" ] || [ "${form%% *}" != "$1" ] || shift
    mapfile -t words < <(grep -oP '\[\K[A-Za-z|]+(?=\])' <<<"$form")
    while [ $# -gt 0 ]; do
        if [[ $1 == -* ]]; then
            read_option "$form" "$1" "${2:-}" || shift
        else
            [ ${#words[@]} -gt 0 ] || wrong_usage "'$1' is one word too many"
            value_fits "$1" "${words[0]}" || wrong_usage "'$1' is not $(say_kind "${words[0]}")"
            words=("${words[@]:1}")
        fi
        shift
    done
}
