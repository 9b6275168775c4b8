#!/bin/sh
# The local demonstration: an example spec validated, rendered and explained; nothing leaves this folder.
set -eu
spec=examples/websocket-only.yml
out=build/demo

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }

say restante validate $spec
restante validate $spec
say restante render $spec --out $out
restante render $spec --out $out
say restante explain $spec
restante explain $spec
say restante explain $spec --file front:/etc/nginx/restante/site.conf
restante explain $spec --file front:/etc/nginx/restante/site.conf
cat <<END

The bundle is in $out: hosts/front/etc/... is what the host gets, byte for byte.
Next, with root on Debian or Ubuntu (make test-lab installs what a lab needs):
  .venv/bin/restante lab up $spec && .venv/bin/restante deploy $spec --lab && .venv/bin/restante verify $spec --lab
END
