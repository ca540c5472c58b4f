# mc, with the alias "job" that the environment defines.
. "$(dirname "$0")/common.sh"
export MC_CONFIG_DIR="$WORK/mc" MC_QUIET=1 MC_DISABLE_PAGER=1

same "labresults/ out/" "$(mc ls job | awk '{print $NF}' | xargs)" "mc ls"
same "$TOTAL" "$(mc ls --recursive job/labresults | wc -l)" "mc ls --recursive"
mc cp --recursive job/labresults/ "$WORK/in/" >/dev/null
same_folder "$WORK/in" "mc cp --recursive"
same small "$(mc cat job/labresults/small.txt)" "mc cat"
mc stat job/labresults/small.txt >/dev/null
same 5 "$(mc find job/labresults/many/12 --name '*.txt' | wc -l)" "mc find"

mc mirror "$EXPECTED" job/out/all >/dev/null
same "$TOTAL" "$(mc ls --recursive job/out/all | wc -l)" "files uploaded"
same "" "$(mc diff "$EXPECTED" job/out/all)" "mc diff"
mc cp --attr from=mc "$EXPECTED/big.bin" "job/out/one/big.bin" >/dev/null
mc stat job/out/one/big.bin | grep -qi "meta-from *: *mc" || fail "metadata: $(mc stat job/out/one/big.bin)"
mc cp job/out/one/big.bin "job/out/two/$ODD" >/dev/null
mc mv "job/out/two/$ODD" job/out/three/big.bin >/dev/null
refused "a moved object" mc stat "job/out/two/$ODD"
mc cat job/out/three/big.bin >"$WORK/big"
same_file big.bin "$WORK/big" "mc mv"
mc pipe job/out/one/stream <"$EXPECTED/big.bin" >/dev/null
mc cat job/out/one/stream | cmp - "$EXPECTED/big.bin" || fail "mc pipe"
mc tag set job/out/one/stream "a=b" >/dev/null
mc du job/out >/dev/null
refused "a write to an input" mc cp "$EXPECTED/small.txt" job/labresults/x

mc cp --recursive "$WORK/kept/" job/out/kept/ >/dev/null
for gone in all one three; do
    mc rm --recursive --force "job/out/$gone/" >/dev/null
done
same 4 "$(mc ls --recursive job/out | wc -l)" "objects in out"
