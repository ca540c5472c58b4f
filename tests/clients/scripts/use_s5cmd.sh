# s5cmd, with the endpoint from the environment.
. "$(dirname "$0")/common.sh"

same "s3://labresults s3://out" "$(s5cmd ls | awk '{print $3}' | xargs)" "s5cmd ls"
same "$TOTAL" "$(s5cmd ls 's3://labresults/*' | wc -l)" "s5cmd ls of all"
s5cmd --log error cp 's3://labresults/*' "$WORK/in/"
same_folder "$WORK/in" "s5cmd cp"
same small "$(s5cmd cat s3://labresults/small.txt)" "s5cmd cat"
s5cmd head s3://labresults/small.txt >/dev/null

s5cmd --log error cp "$EXPECTED/" s3://out/all/
same "$TOTAL" "$(s5cmd ls 's3://out/all/*' | wc -l)" "files uploaded"
same "" "$(s5cmd sync --size-only "$EXPECTED/" s3://out/all/)" "s5cmd sync with nothing to do"
mkdir "$WORK/edited"
echo first >"$WORK/edited/f"
s5cmd --log error sync "$WORK/edited/" s3://out/edited/
uploaded=$(s5cmd head s3://out/edited/f | sed 's/.*"last_modified":"\([^"]*\)".*/\1/')
# Changed after its upload, within the same second, with the same size.
echo again >"$WORK/edited/f"
touch -d "$(date -u -d "$uploaded" +%Y-%m-%dT%H:%M:%S).999Z" "$WORK/edited/f"
s5cmd --log error sync "$WORK/edited/" s3://out/edited/
same again "$(s5cmd cat s3://out/edited/f)" "s5cmd sync of a file changed within a second"
s5cmd --log error rm s3://out/edited/f
s5cmd --log error cp --part-size 5 --metadata from=s5cmd "$EXPECTED/big.bin" s3://out/one/big.bin
s5cmd --log error cp s3://out/one/big.bin "s3://out/two/a+b %25 c.bin"
s5cmd --log error mv "s3://out/two/a+b %25 c.bin" "s3://out/three/$ODD"
refused "a moved object" s5cmd head "s3://out/two/a+b %25 c.bin"
s5cmd --log error cp "s3://out/three/$ODD" "$WORK/big"
same_file big.bin "$WORK/big" "s5cmd mv"
s5cmd --log error cp 's3://labresults/odd names/*' s3://out/four/
s5cmd --log error pipe s3://out/one/stream <"$EXPECTED/big.bin"
s5cmd cat s3://out/one/stream | cmp - "$EXPECTED/big.bin" || fail "s5cmd pipe"
s5cmd du 's3://out/*' >/dev/null
refused "a write to an input" s5cmd cp "$EXPECTED/small.txt" s3://labresults/x

s5cmd --log error cp "$WORK/kept/" s3://out/kept/
for gone in all one three four; do
    s5cmd --log error rm "s3://out/$gone/*"
done
same 4 "$(s5cmd ls 's3://out/*' | wc -l)" "objects in out"
