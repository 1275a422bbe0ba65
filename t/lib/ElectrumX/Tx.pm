package ElectrumX::Tx;

# Bitcoin transactions, blocks and scripts as plain Perl data, written from
# the serialization rules alone (no code shared with the product).
#
#   my $tx = parse_tx($bytes);      # { txid, raw, vin, vout, segwit, size,
#                                   #   weight, vsize }
#     vin:  [{ txid, vout, script, sequence, witness }]   txid: display hex
#     vout: [{ value, script }]                           value: satoshi
#   my $b = parse_block($bytes);    # { hash, header, prev, merkle_root, txs }
#   my $bytes = build_tx(vin => [...], vout => [...], locktime => 0);
#   scripthash($script), sha256d($bytes), display($hash), internal($hex)
#   op_push($data), op_return($data), multisig($m, @pubkeys), witness($v, $p)

use strict;
use warnings;
use Digest::SHA qw(sha256);
use Exporter 'import';

our @EXPORT_OK = qw(parse_tx parse_block build_tx txid_of scripthash sha256d
    display internal op_push op_return multisig witness_program merkle_root
    merkle_branch tree_levels);
our %EXPORT_TAGS = (all => \@EXPORT_OK);

sub sha256d    { return sha256(sha256($_[0])) }
sub display    { return unpack 'H*', scalar reverse $_[0] }
sub internal   { return scalar reverse pack 'H*', $_[0] }
sub scripthash { return unpack 'H*', scalar reverse sha256($_[0]) }

# ---- reading ----------------------------------------------------------------

# A compact size at $$at of $$b.
sub _size {
    my ($b, $at) = @_;
    my $n = ord substr $$b, $$at, 1;
    $$at++;
    return $n if $n < 253;
    my ($len, $format) = $n == 253 ? (2, 'v') : $n == 254 ? (4, 'V')
        : (8, 'Q<');
    $n = unpack $format, substr $$b, $$at, $len;
    $$at += $len;
    return $n;
}

sub _bytes {
    my ($b, $at) = @_;
    my $n = _size($b, $at);
    my $data = substr $$b, $$at, $n;
    $$at += $n;
    return $data;
}

sub _read_vin {
    my ($b, $at) = @_;
    my @vin;
    for (1 .. _size($b, $at)) {
        my $txid = display(substr $$b, $$at, 32);
        my $n = unpack 'V', substr $$b, $$at + 32, 4;
        $$at += 36;
        my $script = _bytes($b, $at);
        push @vin, { txid => $txid, vout => $n, script => $script,
            sequence => unpack('V', substr $$b, $$at, 4), witness => [] };
        $$at += 4;
    }
    return \@vin;
}

sub _read_vout {
    my ($b, $at) = @_;
    my @vout;
    for (1 .. _size($b, $at)) {
        my $value = unpack 'Q<', substr $$b, $$at, 8;
        $$at += 8;
        push @vout, { value => $value, script => _bytes($b, $at) };
    }
    return \@vout;
}

# One transaction at $$at of $$b.
sub _read_tx {
    my ($b, $at) = @_;
    my $start = $$at;
    my $version = substr $$b, $$at, 4;
    $$at += 4;
    my $segwit = substr($$b, $$at, 2) eq "\x00\x01";
    $$at += 2 if $segwit;
    my $body = $$at;
    my $vin = _read_vin($b, $at);
    my $vout = _read_vout($b, $at);
    my $plain = substr $$b, $body, $$at - $body;
    if ($segwit) {
        for my $in (@$vin) {
            $in->{witness} = [map { _bytes($b, $at) } 1 .. _size($b, $at)];
        }
    }
    my $locktime = substr $$b, $$at, 4;
    $$at += 4;
    my $stripped = $version . $plain . $locktime;
    my $size = $$at - $start;
    my $weight = 3 * length($stripped) + $size;
    return { txid => display(sha256d($stripped)), vin => $vin,
        vout => $vout, segwit => $segwit, size => $size,
        weight => $weight, vsize => int(($weight + 3) / 4),
        raw => substr($$b, $start, $size) };
}

sub parse_tx {
    my ($bytes) = @_;
    my $at = 0;
    my $tx = _read_tx(\$bytes, \$at);
    die "bytes after the transaction" if $at != length $bytes;
    return $tx;
}

sub parse_block {
    my ($bytes) = @_;
    my $header = substr $bytes, 0, 80;
    my $at = 80;
    my @txs = map { _read_tx(\$bytes, \$at) } 1 .. _size(\$bytes, \$at);
    die "bytes after the block" if $at != length $bytes;
    return { hash => display(sha256d($header)), header => $header,
        prev => display(substr $header, 4, 32),
        merkle_root => display(substr $header, 36, 32), txs => \@txs };
}

# ---- writing ----------------------------------------------------------------

sub _put_size {
    my ($n) = @_;
    return $n < 253 ? chr $n : $n < 65536 ? pack 'Cv', 253, $n
        : pack 'CV', 254, $n;
}

sub _put { return _put_size(length $_[0]) . $_[0] }

# vin: [{ txid, vout, script?, sequence?, witness? }], vout: [{ value, script }]
sub build_tx {
    my (%t) = @_;
    my $out = pack 'V', $t{version} // 2;
    my $segwit = grep { @{ $_->{witness} || [] } } @{ $t{vin} };
    $out .= "\x00\x01" if $segwit;
    $out .= _put_size(scalar @{ $t{vin} });
    for my $in (@{ $t{vin} }) {
        $out .= internal($in->{txid}) . pack('V', $in->{vout})
            . _put($in->{script} // '')
            . pack 'V', $in->{sequence} // 0xfffffffd;
    }
    $out .= _put_size(scalar @{ $t{vout} });
    $out .= pack('Q<', $_->{value}) . _put($_->{script}) for @{ $t{vout} };
    if ($segwit) {
        for my $in (@{ $t{vin} }) {
            my @w = @{ $in->{witness} || [] };
            $out .= _put_size(scalar @w) . join '', map { _put($_) } @w;
        }
    }
    return $out . pack 'V', $t{locktime} // 0;
}

sub txid_of { return parse_tx($_[0])->{txid} }

# ---- scripts ----------------------------------------------------------------

sub op_push {
    my ($data) = @_;
    my $n = length $data;
    return chr($n) . $data if $n < 76;
    return pack('CC', 0x4c, $n) . $data if $n < 256;
    return pack('Cv', 0x4d, $n) . $data;
}

sub op_return { return "\x6a" . op_push($_[0]) }

sub multisig {
    my ($m, @keys) = @_;
    return chr(0x50 + $m) . join('', map { op_push($_) } @keys)
        . chr(0x50 + @keys) . "\xae";
}

sub witness_program {
    my ($version, $program) = @_;
    return ($version ? chr(0x50 + $version) : "\x00") . op_push($program);
}

# ---- Merkle trees -----------------------------------------------------------

# All levels of the tree, leaves (internal order) first.
sub tree_levels {
    my (@leaves) = @_;
    my @levels = (\@leaves);
    while (@{ $levels[-1] } > 1) {
        my @l = @{ $levels[-1] };
        push @l, $l[-1] if @l % 2;
        push @levels, [map { sha256d($l[2 * $_] . $l[2 * $_ + 1]) }
            0 .. @l / 2 - 1];
    }
    return \@levels;
}

sub merkle_root { return tree_levels(@_)->[-1][0] }

# Siblings of leaf $pos from the bottom up, from tree_levels().
sub merkle_branch {
    my ($levels, $pos) = @_;
    my @branch;
    for my $level (@$levels[0 .. $#$levels - 1]) {
        my $sibling = $pos ^ 1;
        $sibling = $pos if $sibling > $#$level;
        push @branch, $level->[$sibling];
        $pos >>= 1;
    }
    return @branch;
}

1;
