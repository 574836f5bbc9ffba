# Makes a folder that any web server can serve to clients of packages and sources; each of them
# finds one thing, `tiny`, which tells the news.
#   $1: the folder, which is not there yet   $2: the server's name   $3: Python
set -eu
mkdir "$1"
cd "$1"
host=$2 python=$3
sum() { "$1" "$2" | cut -d' ' -f1; }
printf 'the news\n' > news.txt

# git, of the protocol that needs nothing but files
git init --quiet --initial-branch=main work
cp news.txt work
git -C work add .
git -C work -c user.name=Test -c user.email=test@example.org commit --quiet --message=Begin
git clone --quiet --bare work tiny.git
git -C tiny.git update-server-info

# apt, a repository without a tree
mkdir -p deb/DEBIAN deb/usr/share/tiny apt
cp news.txt deb/usr/share/tiny
cat > deb/DEBIAN/control <<END
Package: tiny
Version: 1.0
Architecture: all
Maintainer: Test <test@example.org>
Description: the news
END
dpkg-deb --root-owner-group --build deb apt/tiny.deb > build.log
{
    cat deb/DEBIAN/control
    echo "Filename: ./tiny.deb"
    echo "Size: $(stat --format=%s apt/tiny.deb)"
    echo "SHA256: $(sum sha256sum apt/tiny.deb)"
} > apt/Packages

# pip, an index of HTML
mkdir -p simple/tiny
wheel=tiny-1.0-py3-none-any.whl
echo "<!DOCTYPE html><a href=\"$wheel\">$wheel</a>" > simple/tiny/index.html
"$python" - "simple/tiny/$wheel" <<'END'
import sys, zipfile
info = "tiny-1.0.dist-info/"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("tiny.py", "NEWS = 'the news'\n")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "")
END

# npm
mkdir -p package npm npm-files
echo '{"name":"tiny","version":"1.0.0","main":"index.js"}' > package/package.json
echo 'module.exports = "the news";' > package/index.js
tar --create --gzip --file=npm-files/tiny.tgz package
cat > npm/tiny <<END
{"name":"tiny","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"tiny","version":"1.0.0",
"dist":{"tarball":"https://$host/npm-files/tiny.tgz","shasum":"$(sum sha1sum npm-files/tiny.tgz)"}}}}
END

# cargo, a sparse index
mkdir -p tiny-1.0.0/src crates index/ti/ny
printf '[package]\nname = "tiny"\nversion = "1.0.0"\nedition = "2021"\n' > tiny-1.0.0/Cargo.toml
echo '// the news' > tiny-1.0.0/src/lib.rs
tar --create --gzip --file=crates/tiny-1.0.0.crate tiny-1.0.0
echo "{\"dl\":\"https://$host/crates/{crate}-{version}.crate\"}" > index/config.json
cat > index/ti/ny/tiny <<END
{"name":"tiny","vers":"1.0.0","deps":[],"cksum":"$(sum sha256sum crates/tiny-1.0.0.crate)","features":{},"yanked":false}
END
