# restic, which uses minio-go and so signs every chunk of a body: a repository in the bucket out.
. "$(dirname "$0")/common.sh"
export RESTIC_REPOSITORY="s3:$S3_ENDPOINT/out/repository" RESTIC_PASSWORD=secret
export RESTIC_CACHE_DIR="$WORK/cache"

restic --quiet init
restic --quiet backup "$EXPECTED"
echo more >"$WORK/more"
restic --quiet backup "$WORK/more"
same 2 "$(restic snapshots --json | tr ',' '\n' | grep -c '"short_id"')" "snapshots"
restic --quiet check --read-data
restic --quiet restore --target "$WORK/back" --path "$EXPECTED" latest
same_folder "$WORK/back$EXPECTED" "restic restore"
restic --quiet forget --keep-last 1 --group-by '' --prune
same 1 "$(restic snapshots --json | tr ',' '\n' | grep -c '"short_id"')" "snapshots after forget"
restic --quiet check
