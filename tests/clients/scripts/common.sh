# Helpers of the shell client scripts. $EXPECTED is the folder with the files of the bucket
# labresults.
set -eu
ODD='naïve a+b & 100% 東京.txt'
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
TOTAL=$(find "$EXPECTED" -type f | wc -l)

fail() {
    echo "$*" >&2
    exit 1
}

same() { # same WANT GOT WHAT
    [ "$1" = "$2" ] || fail "$3: expected $1, got $2"
}

same_file() { # same_file FILE-OF-THE-INPUT FILE WHAT
    cmp "$EXPECTED/$1" "$2" || fail "$3: not the bytes of $1"
}

same_folder() { # same_folder FOLDER WHAT
    diff -r "$EXPECTED" "$1" >&2 || fail "$2: not the files of the input"
}

refused() { # refused WHAT COMMAND...
    what=$1
    shift
    if "$@" >"$WORK/refused" 2>&1; then
        fail "$what: expected an error; the command succeeded"
    fi
}

# The four files that each client must write to out, in the folder $WORK/kept.
mkdir "$WORK/kept"
cp "$EXPECTED/small.txt" "$EXPECTED/empty.bin" "$EXPECTED/big.bin" "$WORK/kept"
cp "$EXPECTED/odd names/$ODD" "$WORK/kept"
