# GDAL's command line, through its file system /vsis3/.
. "$(dirname "$0")/common.sh"

cat >"$WORK/points.csv" <<END
id,longitude,latitude
1,7.59,47.56
2,6.14,46.20
END
ogr2ogr -f GeoJSON "/vsis3/out/vectors/naïve a+b.geojson" "$WORK/points.csv" \
    -oo X_POSSIBLE_NAMES=longitude -oo Y_POSSIBLE_NAMES=latitude
same "Feature Count: 2" "$(ogrinfo -so -al "/vsis3/out/vectors/naïve a+b.geojson" | grep Count)" "vectors"
# 12 MB of raster: written in parts as a Cloud-Optimized GeoTIFF, and read by ranges.
gdal_create -q -of GTiff -outsize 2000 2000 -bands 3 -burn 7 "$WORK/raster.tif"
gdal_translate -q -of COG -co COMPRESS=NONE -co OVERVIEWS=NONE \
    --config CPL_VSIL_USE_TEMP_FILE_FOR_RANDOM_WRITE YES "$WORK/raster.tif" /vsis3/out/rasters/cog.tif
gdal_translate -q -srcwin 1000 1000 10 10 /vsis3/out/rasters/cog.tif "$WORK/window.tif"
gdalinfo -checksum "$WORK/window.tif" >"$WORK/info"
grep -q "Size is 10, 10" "$WORK/info" || fail "a window of the raster"
same "$(gdalinfo -checksum "$WORK/raster.tif" | grep Checksum)" \
    "$(gdalinfo -checksum /vsis3/out/rasters/cog.tif | grep Checksum)" "the raster's checksums"
