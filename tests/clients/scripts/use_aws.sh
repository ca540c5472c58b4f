# AWS CLI 1 or 2: the s3 commands, and s3api where they do not suffice.
# Arguments precede each command: a version that does not read AWS_ENDPOINT_URL_S3 needs --endpoint-url.
. "$(dirname "$0")/common.sh"
FLAGS=$*

aws() {
    # shellcheck disable=SC2086  # several words
    command aws $FLAGS "$@"
}

same "labresults out" "$(aws s3 ls | awk '{print $3}' | xargs)" "aws s3 ls"
same "$TOTAL" "$(aws s3 ls --recursive s3://labresults/ | wc -l)" "aws s3 ls --recursive"
aws s3 cp --recursive --only-show-errors s3://labresults/ "$WORK/in"
same_folder "$WORK/in" "aws s3 cp --recursive"
same "small" "$(aws s3 cp s3://labresults/small.txt -)" "aws s3 cp to stdout"
aws s3api get-object --bucket labresults --key big.bin --range bytes=1000-1999 "$WORK/range" >/dev/null
tail -c +1001 "$EXPECTED/big.bin" | head -c 1000 | cmp - "$WORK/range" || fail "a range"

mkdir "$WORK/some"
cp -r "$EXPECTED/many/00" "$EXPECTED/odd names" "$EXPECTED/big.bin" "$EXPECTED/empty.bin" "$WORK/some"
find "$WORK/some" -type f -exec touch -d '1 minute ago' {} +
aws s3 cp --recursive --only-show-errors "$WORK/some" s3://out/all/
same "$(find "$WORK/some" -type f | wc -l)" "$(aws s3 ls --recursive s3://out/all/ | wc -l)" "files uploaded"
same "" "$(aws s3 sync "$WORK/some" s3://out/all/)" "aws s3 sync with nothing to do"
aws s3 sync --only-show-errors s3://out/all/ "$WORK/back"
diff -r "$WORK/some/00" "$WORK/back/00" || fail "aws s3 sync back"
cmp "$WORK/some/big.bin" "$WORK/back/big.bin" || fail "aws s3 sync back"
mkdir "$WORK/edited"
echo first >"$WORK/edited/f"
aws s3 sync --only-show-errors "$WORK/edited" s3://out/edited/
uploaded=$(aws s3api head-object --bucket out --key edited/f --query LastModified --output text)
# Changed after its upload, within the same second, with the same size.
echo again >"$WORK/edited/f"
touch -d "$(date -u -d "$uploaded" +%Y-%m-%dT%H:%M:%S).999Z" "$WORK/edited/f"
aws s3 sync --only-show-errors "$WORK/edited" s3://out/edited/
same again "$(aws s3 cp s3://out/edited/f -)" "aws s3 sync of a file changed within a second"
aws s3 rm --only-show-errors s3://out/edited/f
aws s3 cp --only-show-errors --metadata from=aws,two=2 "$EXPECTED/big.bin" s3://out/one/big.bin
same "aws" "$(aws s3api head-object --bucket out --key one/big.bin --query Metadata.from --output text)" metadata
aws s3 cp --only-show-errors --metadata from=aws "$EXPECTED/small.txt" "s3://out/one/$ODD"
aws s3 cp --only-show-errors "s3://out/one/$ODD" "s3://out/two/$ODD"
same "aws" "$(aws s3api head-object --bucket out --key "two/$ODD" --query Metadata.from --output text)" \
    "metadata of a copy"
aws s3 cp --only-show-errors s3://out/one/big.bin s3://out/two/big.bin
aws s3 mv --only-show-errors s3://out/two/big.bin s3://out/three/big.bin
refused "a moved object" aws s3api head-object --bucket out --key two/big.bin
aws s3 cp --only-show-errors s3://out/three/big.bin "$WORK/big"
same_file big.bin "$WORK/big" "aws s3 mv"
head -c 8500000 "$EXPECTED/big.bin" | aws s3 cp - s3://out/one/stream
aws s3 cp s3://out/one/stream - | cmp - "$EXPECTED/big.bin" 2>"$WORK/cmp" && fail "stream has the whole file"
grep -q 'EOF on -' "$WORK/cmp" || fail "stream: $(cat "$WORK/cmp")"
refused "a write to an input" aws s3 cp "$EXPECTED/small.txt" s3://labresults/x
grep -q 's3://out' "$WORK/refused" || fail "the error does not name s3://out: $(cat "$WORK/refused")"
link=$(aws s3 presign "s3://out/all/empty.bin")
case $link in *ignature=*) ;; *) fail "presign: $link" ;; esac

aws s3 sync --only-show-errors "$WORK/kept" s3://out/kept/
aws s3 rm --recursive --only-show-errors s3://out/all/
aws s3 rm --recursive --only-show-errors s3://out/one/
aws s3 rm --only-show-errors s3://out/three/big.bin
aws s3 rm --only-show-errors "s3://out/two/$ODD"
same 4 "$(aws s3 ls --recursive s3://out/ | wc -l)" "objects in out"
