# fish completion of l2tpconfig: the program itself knows what can come next.
function __l2tpconfig_complete
    set -l line (string replace -r '^\s*\S+\s' '' -- (commandline -cp))
    l2tpconfig complete token -- "$line" 2>/dev/null
end
complete -c l2tpconfig -f -a '(__l2tpconfig_complete)'
