#!/bin/sh
# Makes the certificates that the tests use, all valid for a hundred years but for expired.pem.  Each file but ca.pem has a key too.
set -e
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

authority() { # NAME
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/$1.key"
    : > "$work/$1.index"
    openssl req -new -key "$work/$1.key" -subj "/CN=gearman_std test $1" -out "$work/$1.csr"
    sign "$1" "$1" "basicConstraints=critical,CA:true
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash" 20180101000000Z 21180101000000Z -selfsign
}

sign() { # AUTHORITY NAME EXTENSION BEGIN END [MORE]
    printf '%s\n' "[ca]" "default_ca=x" "[x]" "database=$work/$1.index" "new_certs_dir=$work" "default_md=sha256" \
        "policy=p" "rand_serial=yes" "unique_subject=no" "[p]" "commonName=supplied" "[e]" "$3" > "$work/config"
    [ "$1" = "$2" ] || set -- "$@" -cert "$work/$1.crt"
    authority=$1 name=$2 begin=$4 end=$5
    shift 5
    openssl ca -batch -notext -config "$work/config" -extensions e -keyfile "$work/$authority.key" -startdate "$begin" \
        -enddate "$end" -in "$work/$name.csr" -out "$work/$name.crt" "$@" 2> "$work/log" || { cat "$work/log"; exit 1; }
}

certificate() { # FILE AUTHORITY COMMON-NAME ALTERNATIVE-NAMES BEGIN END
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/$1.key"
    openssl req -new -key "$work/$1.key" -subj "/CN=$3" -out "$work/$1.csr"
    sign "$2" "$1" "subjectAltName=$4
authorityKeyIdentifier=keyid" "$5" "$6"
    cat "$work/$1.crt" "$work/$1.key" > "$1.pem"
}

authority ca
authority strangers
cp "$work/ca.crt" ca.pem
certificate server ca server.example "DNS:localhost,IP:127.0.0.1" 20180101000000Z 21180101000000Z
certificate renewed ca renewed.example "DNS:localhost,IP:127.0.0.1" 20180101000000Z 21180101000000Z
certificate expired ca server.example "DNS:localhost,IP:127.0.0.1" 20180101000000Z 20190101000000Z
certificate client ca operator "DNS:operator.example,email:operator@example.org" 20180101000000Z 21180101000000Z
certificate stranger strangers operator "DNS:operator.example" 20180101000000Z 21180101000000Z
