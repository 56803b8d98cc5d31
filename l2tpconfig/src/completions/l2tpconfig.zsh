#compdef l2tpconfig
# zsh completion of l2tpconfig: the program itself knows what can come next.
_l2tpconfig() {
    local line="${(j: :)words[2,CURRENT-1]} $PREFIX" candidate help
    while IFS=$'\t' read -r candidate help; do
        case $candidate in
            *=) compadd -U -S '' -- "$candidate" ;;
            *) compadd -U -- "$candidate" ;;
        esac
    done < <("${words[1]}" complete token -- "$line" 2>/dev/null)
}
if [ "$funcstack[1]" = "_l2tpconfig" ]; then
    _l2tpconfig "$@"
else
    compdef _l2tpconfig l2tpconfig
fi
