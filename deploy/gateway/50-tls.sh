#!/bin/sh
# Run by the nginx image before nginx starts: switches HTTPS on when there is a certificate with its key.
set -eu

mkdir -p /tmp/almanac-tls
if [ -r /etc/nginx/tls/tls.crt ] && [ -r /etc/nginx/tls/tls.key ]; then
  cp /etc/nginx/almanac/tls.conf /tmp/almanac-tls/tls.conf
  echo 'gateway: HTTPS with HTTP/2 on 8443'
else
  rm -f /tmp/almanac-tls/tls.conf
  echo 'gateway: no readable tls.crt and tls.key in /etc/nginx/tls, HTTP only'
fi
