# s3cmd reads no variable for the endpoint, so it is written to a configuration file.
. "$(dirname "$0")/common.sh"
address=${S3_ENDPOINT#*://}
case $S3_ENDPOINT in https://*) secure=True ;; *) secure=False ;; esac
cat >"$WORK/s3cfg" <<END
[default]
host_base = $address
host_bucket = $address
use_https = $secure
ca_certs_file = ${AWS_CA_BUNDLE:-}
END
export S3CMD_CONFIG="$WORK/s3cfg"

same "s3://labresults s3://out" "$(s3cmd ls | awk '{print $3}' | xargs)" "s3cmd ls"
same "$TOTAL" "$(s3cmd ls --recursive s3://labresults | wc -l)" "s3cmd ls --recursive"
mkdir "$WORK/in"
s3cmd get --quiet --recursive s3://labresults/ "$WORK/in/"
same_folder "$WORK/in" "s3cmd get --recursive"
s3cmd info s3://labresults >/dev/null
s3cmd info s3://labresults/small.txt | grep -q "File size: 6" || fail "s3cmd info"

s3cmd put --quiet --recursive "$EXPECTED/" s3://out/all/
same "$TOTAL" "$(s3cmd ls --recursive s3://out/all/ | wc -l)" "files uploaded"
same "" "$(s3cmd sync --quiet "$EXPECTED/" s3://out/all/ | grep upload || true)" "s3cmd sync with nothing to do"
s3cmd put --quiet --multipart-chunk-size-mb=5 --add-header=x-amz-meta-from:s3cmd "$EXPECTED/big.bin" s3://out/one/big.bin
s3cmd info s3://out/one/big.bin | grep -q "x-amz-meta-from: s3cmd" || fail metadata
s3cmd cp --quiet s3://out/one/big.bin s3://out/two/big.bin
s3cmd mv --quiet s3://out/two/big.bin "s3://out/three/$ODD"
refused "a moved object" s3cmd info s3://out/two/big.bin
s3cmd get --quiet "s3://out/three/$ODD" "$WORK/big"
same_file big.bin "$WORK/big" "s3cmd mv"
s3cmd modify --quiet --add-header=x-amz-meta-more:yes s3://out/one/big.bin
s3cmd info s3://out/one/big.bin | grep -q "x-amz-meta-more: yes" || fail "s3cmd modify"
s3cmd put --quiet - s3://out/one/stream <"$EXPECTED/big.bin"
s3cmd get --quiet s3://out/one/stream "$WORK/stream"
same_file big.bin "$WORK/stream" "s3cmd put of a stream"
s3cmd du s3://out >/dev/null
s3cmd multipart s3://out >/dev/null
refused "a write to an input" s3cmd put "$EXPECTED/small.txt" s3://labresults/x

s3cmd put --quiet --recursive "$WORK/kept" s3://out/
for gone in all one three; do
    s3cmd del --quiet --recursive --force "s3://out/$gone/"
done
same 4 "$(s3cmd ls --recursive s3://out/ | wc -l)" "objects in out"
