# rclone, with the remote "job:" that the environment defines.
. "$(dirname "$0")/common.sh"
export RCLONE_CONFIG="$WORK/rclone.conf"
: >"$RCLONE_CONFIG"

rclone lsd job: 2>"$WORK/stderr" >"$WORK/lsd"
same "" "$(cat "$WORK/stderr")" "messages of rclone about its remote"
same "labresults out" "$(rclone lsd job: | awk '{print $5}' | xargs)" "rclone lsd"
same "$TOTAL" "$(rclone lsf -R --files-only job:labresults | wc -l)" "rclone lsf"
rclone copy job:labresults "$WORK/in"
same_folder "$WORK/in" "rclone copy from the input"
rclone check "$EXPECTED" job:labresults
same small "$(rclone cat job:labresults/small.txt)" "rclone cat"
rclone cat --offset 1000 --count 1000 job:labresults/big.bin >"$WORK/range"
tail -c +1001 "$EXPECTED/big.bin" | head -c 1000 | cmp - "$WORK/range" || fail "a range"

rclone copy "$EXPECTED" job:out/all --s3-upload-cutoff 6M --s3-chunk-size 5M
rclone check --download "$EXPECTED" job:out/all
rclone sync "$EXPECTED" job:out/all
rclone copyto "$EXPECTED/big.bin" "job:out/one/$ODD" --metadata-set from=rclone 2>/dev/null ||
    rclone copyto "$EXPECTED/big.bin" "job:out/one/$ODD" # no metadata before 1.62
rclone copyto "job:out/one/$ODD" job:out/two/big.bin
rclone moveto job:out/two/big.bin job:out/three/big.bin
refused "a moved object" rclone cat job:out/two/big.bin --error-on-no-transfer --retries 1
rclone cat job:out/three/big.bin >"$WORK/big"
same_file big.bin "$WORK/big" "rclone moveto"
rclone move job:out/three job:out/four
rclone copy job:labresults/odd\ names job:out/five
rclone check "$EXPECTED/odd names" job:out/five
rclone rcat job:out/one/stream <"$EXPECTED/big.bin"
rclone touch job:out/one/touched
rclone size job:out >/dev/null
rclone check "$EXPECTED" job:out/all --one-way
# Control characters, for which rclone has U+2401 and U+2402, as in names of files. Of a listing
# without encoding-type=url they are lost.
for name in ␁ ␂; do
    echo x | rclone rcat "job:out/strange/line$name"
done
same "line␁ line␂" "$(rclone lsf job:out/strange | xargs)" "rclone lsf of control characters"
rclone copy job:out/strange job:out/stranger
same "line␁ line␂" "$(rclone lsf job:out/stranger | xargs)" "rclone copy of control characters"
refused "a write to an input" rclone copyto "$EXPECTED/small.txt" job:labresults/x --retries 1

rclone copy "$WORK/kept" job:out/kept
for gone in all one strange stranger; do
    rclone purge "job:out/$gone"
done
rclone delete job:out/four
rclone delete job:out/five
same 4 "$(rclone lsf -R --files-only job:out | wc -l)" "objects in out"
