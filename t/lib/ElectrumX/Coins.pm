package ElectrumX::Coins;

# Makes transactions of all script kinds for the chains of the tests.
#
#   my $coins = ElectrumX::Coins->new($node, seed => 7);
#   $coins->rescan($picture);          # spendable coins of an ElectrumX::Model
#   my $script = $coins->script('p2tr', 1);    # kinds: see KINDS below
#   my $coin = $coins->take(standard => 1, kind => 'true', min => 10_000);
#       # age => 150: coinbases of that many blocks ago only (99)
#   my $tx = $coins->make([$coin], [[$script, $value], ...], %o);
#       # { hex, txid, coins }: coins are its outputs; $o{sequence}
#   my $tx = $coins->random(standard => 1);    # some inputs, some outputs
#   my @tx = $coins->chain(25, standard => 1); # each spends the one before
#   $coins->give(@{ $tx->{coins} });           # may be spent from now on
#   my $hash = $coins->mine($n);       # block of $n random transactions
#   $coins->mine_to('p2pk', 0);        # empty block, coinbase to this script
#
# Kinds without a key (true, drop, shtrue, wshtrue, empty, witN, anchor) are
# spent in plain Perl, the others are signed by the node from keys made here
# (no wallet is used).

use strict;
use warnings;
use Digest::SHA qw(sha256);
use Math::BigInt;
use ElectrumX::Node;
use ElectrumX::Tx qw(:all);

our @SIGNED = qw(p2pk p2pkh p2shwpkh p2wpkh p2wsh p2tr multisig p2sh);
our @FREE = qw(true drop shtrue wshtrue empty anchor wit2 wit16 wit1short);
our @UNSPENDABLE = qw(opreturn opreturn0 junk long);
our $KEYS = 4;    # scripts of each signed kind

# A node's mempool refuses to spend these, or to pay to those.
my %NO_SPEND = map { $_ => 1 } qw(wit2 wit16 wit1short empty);
my %NO_PAY = map { $_ => 1 } qw(p2pk multisig empty junk long opreturn0);

sub new {
    my ($class, $node, %o) = @_;
    my $self = bless { node => $node, pool => [], kind => {}, n => 0,
        script => {}, seed => $o{seed} // 1 }, $class;
    srand $self->{seed};
    $self->_free_scripts;
    $self->_signed_scripts if !$o{free_only};
    $self->{free_only} = $o{free_only};
    return $self;
}

# ---- scripts ----------------------------------------------------------------

sub _know {
    my ($self, $kind, $script, %o) = @_;
    push @{ $self->{script}{$kind} }, $script;
    $self->{kind}{$script} = { kind => $kind, %o };
}

sub _drop { return op_push("drop $_[0]") . "\x75\x51" }

sub _free_scripts {
    my ($self) = @_;
    $self->_know('true', "\x51");
    $self->_know('empty', '', sig => "\x51");
    $self->_know('anchor', "\x51\x02\x4e\x73");
    $self->_know('drop', _drop($_)) for 0 .. 199;
    for my $i (0 .. 9) {
        my $inner = _drop("wsh $i");
        $self->_know('wshtrue', witness_program(0, sha256($inner)),
            witness => [$inner]);
        $self->_know('wit2', witness_program(2, sha256("wit2 $i")));
        $self->_know('wit16', witness_program(16, "$i$i$i"));
        $self->_know('wit1short', witness_program(1, "short$i"));
    }
    my @inner = map { _drop("sh $_") } 0 .. 9;
    my @d = $self->{node}->rpc_batch(
        map { ['decodescript', unpack 'H*', $_] } @inner);
    my @v = $self->{node}->rpc_batch(
        map { ['validateaddress', $_->{p2sh}] } @d);
    $self->_know('shtrue', pack('H*', $v[$_]{scriptPubKey}),
        sig => op_push($inner[$_]), redeem => $inner[$_]) for 0 .. 9;
}

# Keys from the kind's name; the node derives the scripts.
sub _signed_scripts {
    my ($self) = @_;
    my @all = map { my $kind = $_; map { [$kind, $_] } 0 .. $KEYS - 1 }
        @SIGNED;
    my $node = $self->{node};
    my @info = $node->rpc_batch(map { my ($kind, $i) = @$_;
        ['getdescriptorinfo', _descriptor($kind, _keys($kind, $i))] } @all);
    for my $n (0 .. $#all) {
        my ($kind, $i) = @{ $all[$n] };
        my $public = $info[$n]{descriptor};
        my @keys = $public =~ /\b((?:0[23])?[0-9a-f]{64})\b/g;
        $self->_know($kind, $self->_script_of($kind, $public, @keys),
            wif => [_keys($kind, $i)], sign => 1,
            multisig => $kind eq 'p2wsh' ? [witnessScript => 1, @keys]
            : $kind eq 'p2sh' ? [redeemScript => 2, @keys] : undef,
            redeem => $kind eq 'p2shwpkh'
            ? $self->_address_script("wpkh($keys[0])") : undef);
    }
}

sub _keys { my ($kind, $i) = @_; return map { _wif("$kind $i $_") } 1 .. 2 }

my %FORM = (
    p2pk => 'pk(%s)', p2pkh => 'pkh(%s)', p2shwpkh => 'sh(wpkh(%s))',
    p2wpkh => 'wpkh(%s)', p2wsh => 'wsh(multi(1,%s,%s))', p2tr => 'rawtr(%s)',
    multisig => 'multi(1,%s,%s)', p2sh => 'sh(multi(2,%s,%s))',
);

sub _descriptor {
    my ($kind, @wif) = @_;
    return sprintf $FORM{$kind}, @wif[0 .. ($FORM{$kind} =~ tr/%//) - 1];
}

# Script of a public descriptor; bare ones have no address.
sub _script_of {
    my ($self, $kind, $public, @hex) = @_;
    my @keys = map { pack 'H*', $_ } @hex;
    return op_push($keys[0]) . "\xac" if $kind eq 'p2pk';
    return multisig(1, @keys) if $kind eq 'multisig';
    return $self->_address_script($public);
}

sub _address_script {
    my ($self, $public) = @_;
    my ($address) = @{ $self->{node}->rpc('deriveaddresses',
        $self->{node}->descriptor($public =~ s/#.*//r)) };
    return pack 'H*',
        $self->{node}->rpc('validateaddress', $address)->{scriptPubKey};
}

sub _wif {
    my ($name) = @_;
    my $bytes = "\xef" . sha256("electrumx test key $name") . "\x01";
    return _base58($bytes . substr sha256d($bytes), 0, 4);
}

sub _base58 {
    my ($bytes) = @_;
    my @digits = (1 .. 9, 'A' .. 'H', 'J' .. 'N', 'P' .. 'Z', 'a' .. 'k',
        'm' .. 'z');
    my $n = Math::BigInt->from_hex(unpack 'H*', $bytes);
    my $out = '';
    while (!$n->is_zero) {
        my ($q, $r) = $n->bdiv(58);
        $out = $digits[$r] . $out;
        $n = $q;
    }
    return $out;
}

sub kinds {
    my ($self) = @_;
    return (@FREE, $self->{free_only} ? () : @SIGNED);
}

sub script {
    my ($self, $kind, $i) = @_;
    return op_return("note " . ($i // $self->{n}++)) if $kind eq 'opreturn';
    return "\x00" . op_return('zero ' . ($i // $self->{n}++))
        if $kind eq 'opreturn0';
    return "\x4c\xff" . 'junk' . ($i // $self->{n}++) if $kind eq 'junk';
    return ("\x61" x 10_001) . ($i // $self->{n}++) if $kind eq 'long';
    my $list = $self->{script}{$kind} or die "no script kind $kind";
    return $list->[($i // int rand @$list) % @$list];
}

sub random_script {
    my ($self, %o) = @_;
    my @kinds = rand() < 0.002 ? 'long' : rand() < 0.06 ? @UNSPENDABLE[0 .. 2]
        : $self->kinds;
    @kinds = grep { !$NO_PAY{$_} } @kinds, 'opreturn' if $o{standard};
    return $self->script($kinds[rand @kinds]);
}

# ---- coins ------------------------------------------------------------------

sub rescan {
    my ($self, $picture) = @_;
    $self->{pool} = [map { { %$_, %{ $self->{kind}{ $_->{script} } },
        in_pool => !defined $_->{height} } }
        grep { $self->{kind}{ $_->{script} } } @{ $picture->utxos }];
    return scalar @{ $self->{pool} };
}

sub give {
    my ($self, @coins) = @_;
    push @{ $self->{pool} }, grep { defined $_->{kind} } @coins;
}

# Takes a random coin that fits out of the pool; undef if there is none.
sub take {
    my ($self, %o) = @_;
    my $height = $self->{height} // $self->{node}->height;
    my $pool = $self->{pool};
    my $from = int rand @$pool;
    for my $n (0 .. $#$pool) {
        my $i = ($from + $n) % @$pool;
        my $c = $pool->[$i];
        next if $c->{coinbase} && $c->{height} > $height - ($o{age} // 99);
        next if $o{standard} && $NO_SPEND{ $c->{kind} };
        next if $o{confirmed} && !defined $c->{height};
        next if $o{no_pool} && $c->{in_pool};
        next if $o{kind} && $c->{kind} ne $o{kind};
        next if $c->{value} < ($o{min} // 0);
        next if $o{coinbase} && !$c->{coinbase};
        $pool->[$i] = $pool->[-1];
        pop @$pool;
        return $c;
    }
    return undef;
}

# Signs and returns a transaction; its outputs as coins.
sub make {
    my ($self, $in, $out, %o) = @_;
    my @vin = map { { txid => $_->{txid}, vout => $_->{vout},
        script => $_->{sig} // '', witness => $_->{witness} || [],
        sequence => $o{sequence} } } @$in;
    my @vout = map { { script => $_->[0], value => $_->[1] } } @$out;
    my $raw = build_tx(vin => \@vin, vout => \@vout);
    $raw = $self->_sign($raw, $in) if grep { $_->{sign} } @$in;
    my $txid = txid_of($raw);
    my $n = 0;
    my @coins = map { { txid => $txid, vout => $n++, script => $_->{script},
        value => $_->{value}, %{ $self->{kind}{ $_->{script} } || {} } } }
        @vout;
    return { hex => unpack('H*', $raw), txid => $txid, coins => \@coins };
}

sub _sign {
    my ($self, $raw, $in) = @_;
    my @wif = map { @{ $_->{wif} || [] } } @$in;
    my @prev = map { { txid => $_->{txid}, vout => $_->{vout},
        scriptPubKey => unpack('H*', $_->{script}),
        amount => _btc($_->{value}), _inner($_) } } @$in;
    my $r = $self->{node}->rpc('signrawtransactionwithkey',
        unpack('H*', $raw), \@wif, \@prev);
    my $tx = parse_tx(pack 'H*', $r->{hex});
    for my $i (0 .. $#$in) {
        next if $in->[$i]{sign};
        $tx->{vin}[$i]{script} = $in->[$i]{sig} // '';
        $tx->{vin}[$i]{witness} = $in->[$i]{witness} || [];
    }
    return build_tx(vin => $tx->{vin}, vout => $tx->{vout});
}

# The script behind a script hash, for signing.
sub _inner {
    my ($coin) = @_;
    if (my $m = $coin->{multisig}) {
        my ($name, $n, @keys) = @$m;
        return ($name => unpack 'H*',
            multisig($n, map { pack 'H*', $_ } @keys));
    }
    return (witnessScript => unpack 'H*', $coin->{witness}[-1])
        if @{ $coin->{witness} || [] };
    return () if !$coin->{redeem};
    return (redeemScript => unpack 'H*', $coin->{redeem});
}

sub _btc { return sprintf '%d.%08d', int($_[0] / 1e8), $_[0] % 1e8 }

# A random transaction of up to 3 inputs and 5 outputs; undef without coins.
sub random {
    my ($self, %o) = @_;
    my @in = $self->_inputs(1 + int rand 3, %o) or return undef;
    my $sum = 0;
    $sum += $_->{value} for @in;
    my $fee = $o{fee} // 1000 + int rand 4000;
    if ($sum < $fee) {    # too little: an output of nothing
        return $self->make(\@in, [[$self->random_script(%o), 0]], %o)
            if !$o{standard};
        return $self->random(%o);
    }
    my $tx = $self->make(\@in, $self->_outputs($sum - $fee, \@in, %o), %o);
    $self->give(@{ $tx->{coins} }) if !$o{keep};
    return $tx;
}

# The node cannot sign beside a coin with an empty script.
sub _inputs {
    my ($self, $n, %o) = @_;
    my @in = grep {defined} map { $self->take(%o) } 1 .. $n;
    return @in if !grep { $_->{script} eq '' } @in;
    $self->give(grep { $_->{sign} } @in);
    return grep { !$_->{sign} } @in;
}

# Splits a sum over random scripts: now and then twice to the same, back to
# the script spent from, or an output of nothing.
sub _outputs {
    my ($self, $sum, $in, %o) = @_;
    my @out;
    for (1 .. int rand 5) {
        my $dice = rand;
        my $script = $dice < 0.12 && !$NO_PAY{ $in->[0]{kind} }
            ? $in->[0]{script}
            : $dice < 0.22 && @out ? $out[0][0] : $self->random_script(%o);
        my $value = rand() < 0.04 && !$o{standard} ? 0
            : int($sum * rand(0.6));
        $value = 0 if $script =~ /\A\x00?\x6a/;
        next if $value < 1000 && $o{standard} && $script !~ /\A\x00?\x6a/;
        push @out, [$script, $value];
        $sum -= $value;
    }
    my @kinds = grep { !$NO_SPEND{$_} && !$NO_PAY{$_} } $self->kinds;
    # Below 65 bytes a transaction is not relayed.
    @kinds = grep { !/^(?:true|anchor)$/ } @kinds if !@out;
    return [@out, [$self->script($kinds[rand @kinds]), $sum]];
}

# $n transactions of which each spends the one before.
sub chain {
    my ($self, $n, %o) = @_;
    my $coin = $o{from} || $self->take(min => $n * 2000, confirmed => 1, %o)
        or die 'no coin for a chain';
    my @chain;
    for my $i (1 .. $n) {
        my $script = $o{script} || $self->script('drop', $i);
        my $tx = $self->make([$coin], [[$script, $coin->{value} - 1000]]);
        push @chain, $tx;
        $coin = $tx->{coins}[0];
    }
    return @chain;
}

# ---- blocks -----------------------------------------------------------------

# A block of $n random transactions; many spend outputs of the same block.
sub mine {
    my ($self, $n, %o) = @_;
    $self->{height} = $self->{node}->height;
    my @txs = grep {defined} map { $self->random(%o, no_pool => 1) } 1 .. $n;
    my @kinds = grep { $_ ne 'empty' } $self->kinds;
    my $script = $o{to} // $self->script($kinds[rand @kinds]);
    my $hash = $self->{node}->generate_block([map { $_->{hex} } @txs],
        $self->{node}->raw_descriptor($script));
    delete $self->{height};
    return $hash;
}

sub mine_to {
    my ($self, $kind, $i) = @_;
    return $self->{node}->generate_block([],
        $self->{node}->raw_descriptor($self->script($kind, $i)));
}

1;
