# Reads what pip prints, and shows one line that says how far it is. Errors and warnings pass.
# It shows no time left: pip tells no sizes before it has looked up every package.
function show(text) {
    if (terminal) printf "\r\033[K  %s", text
    else if (text != last) print "  " text
    last = text
    fflush()
}
/^Collecting / { looked_up++; if (terminal) show(looked_up " packages looked up: " $2) }
/^ *(Downloading|Using cached|Processing) / {
    size = match($0, /\([0-9.]+ [kMG]B\)/) ? substr($0, RSTART + 1, RLENGTH - 2) : ""
    if (size ~ /GB|[0-9][0-9]+(\.[0-9]+)? MB/) { n = split($2, path, "/"); show("downloading " path[n] ", " size) }
}
/^Installing collected packages/ { show("installing " NF - 3 " packages; this writes some gigabytes") }
/^Successfully installed/ { show("installed " NF - 2 " packages") }
/^(ERROR|WARNING)/ { print }
END { if (terminal && last) print "" }
