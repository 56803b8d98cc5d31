# bash completion of l2tpconfig: the program itself knows what can come next.
_l2tpconfig() {
    local line="${COMP_LINE:0:COMP_POINT}" candidate
    line="${line#"${line%%[![:space:]]*}"}"
    line="${line#* }"
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ $candidate == *= ]] || candidate+=" "
        COMPREPLY+=("$candidate")
    done < <("${COMP_WORDS[0]}" complete word -- "$line" 2>/dev/null)
}
complete -o nospace -F _l2tpconfig l2tpconfig
