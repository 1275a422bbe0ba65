# Script hashes, scripts and addresses; read by t/305-cases.t.
use strict;
use warnings;
use ElectrumX::Compare;

my $bool = sub { sub { ref $_[0] eq 'JSON::PP::Boolean' ? undef
    : 'not true or false' } };
my $JSON = JSON::PP->new->canonical;

# The same list; unconfirmed outputs come in any order.
my $unspent = sub {
    my ($want) = @_;
    return sub {
        my ($got) = @_;
        my ($g, $w) = map { $JSON->encode(
            ElectrumX::Compare::sort_unspent($_)) } $got, $want;
        return $g eq $w ? undef : "$g, wanted $w";
    };
};

my $part = sub {
    my ($p, $sh, $from, $to) = @_;
    return [grep { $_->{height} <= 0 ? $to == -1
        : $_->{height} >= $from && ($to == -1 || $_->{height} < $to) }
        @{ $p->history($sh) }];
};

my $first = sub {
    my ($k, $sh) = @_;
    my ($e) = @{ $k->{p}->history($sh) } or return undef;
    my $h = $e->{height} > 0 ? $e->{height} : 0;
    return { block_hash => $h ? $k->{node}->hash_at($h) : $k->{zero},
        height => $h, block_height => $h, tx_hash => $e->{tx_hash} };
};

# What a family of methods answers; $sh: the script hash of its argument.
my %answer = (
    get_balance => sub { my ($k, $sh) = @_; $k->{p}->balance($sh) },
    get_mempool => sub { my ($k, $sh) = @_; $k->{p}->mempool($sh) },
    get_history => sub { my ($k, $sh) = @_; $k->{p}->history($sh) },
    listunspent => sub { my ($k, $sh) = @_; $unspent->($k->{p}->unspent($sh)) },
    subscribe => sub { my ($k, $sh) = @_; $k->{p}->status($sh) },
    get_status => sub { my ($k, $sh) = @_; $k->{p}->status($sh) },
    get_first_use => $first,
    unsubscribe => $bool,
    get_scripthash => sub { $_[1] },
);

# $inputs: [argument of the method, its script hash], as functions.
my $family = sub {
    my ($prefix, $name, $type, $wrap, $fail, $inputs, @methods) = @_;
    my @rows;
    for my $m (@methods) {
        my $plain = sub { my ($v) = @_; $wrap->{$m} && ref $v ne 'CODE'
            ? { $wrap->{$m} => $v } : $wrap->{$m} ? sub { my ($got) = @_;
                join(' ', keys %$got) eq $wrap->{$m}
                    ? $v->($got->{ $wrap->{$m} }) : 'another shape' } : $v };
        my @good = map { my ($arg, $sh) = @$_;
            [sub { [$arg->($_[0])] },
                sub { $plain->($answer{$m}->($_[0], $sh->($_[0]))) }]
        } @$inputs;
        my @params = ([$name, $type]);
        my @fail = @$fail;
        if ($m eq 'get_history') {
            push @params, ['from_height', 'uint', 1], ['to_height', 'end', 1];
            my ($arg, $sh) = @{ $inputs->[0] };
            push @good, map { my ($from, $to) = @$_;
                [sub { [$arg->($_[0]), $from, $to] },
                    sub { $plain->($part->($_[0]{p}, $sh->($_[0]), $from,
                        $to)) }]
            } [0, -1], [0, '-1'], [50, -1], ['50', '110'], [0, 0], [5, 5],
                [0, 1_000_000];
            push @good, [sub { [$arg->($_[0]), 110] },
                sub { $plain->($part->($_[0]{p}, $sh->($_[0]), 110, -1)) }];
            push @fail, [sub { [$arg->($_[0]), 5, 4] }, -32602,
                'to_height: less than from_height'];
        }
        if ($m =~ /^(?:get_balance|listunspent)$/) {
            push @params, ['token_filter', 'string', 1];
            my ($arg) = @{ $inputs->[0] };
            push @fail, map { my $filter = $_;
                [sub { [$arg->($_[0]), $filter] }, -32602,
                    'token_filter: this coin has no tokens']
            } qw(include_tokens exclude_tokens tokens_only other);
        }
        push @rows, { method => "blockchain.$prefix.$m", params => \@params,
            good => \@good, fail => \@fail };
    }
    return @rows;
};

my @hashes = (
    [sub { $_[0]{sh} }, sub { $_[0]{sh} }],
    [sub { uc $_[0]{sh} }, sub { $_[0]{sh} }],
    [sub { $_[0]{none} }, sub { $_[0]{none} }],
    [sub { $_[0]{script_sh} }, sub { $_[0]{script_sh} }],
);
my @scripts = (
    [sub { $_[0]{script} }, sub { $_[0]{script_sh} }],
    [sub { uc $_[0]{script} }, sub { $_[0]{script_sh} }],
    [sub { 'fe' x 300 }, sub { ElectrumX::Tx::scripthash("\xfe" x 300) }],
    [sub {''}, sub { ElectrumX::Tx::scripthash('') }],
);
my @addresses = (
    [sub { $_[0]{address} }, sub { $_[0]{script_sh} }],
    [sub { uc $_[0]{address} }, sub { $_[0]{script_sh} }],
);
my @no_address = map { [[$_], 1, "$_ is not a valid address"] }
    'x', 'bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq',
    '1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa',
    'bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4';

[
    $family->('scripthash', 'scripthash', 'hash', {}, [], \@hashes,
        qw(get_balance get_mempool get_history listunspent subscribe
        unsubscribe get_status get_first_use)),
    $family->('scriptpubkey', 'scriptpubkey', 'script',
        { get_history => 'history', get_mempool => 'history',
            listunspent => 'utxos' }, [], \@scripts,
        qw(get_balance get_mempool get_history listunspent subscribe
        unsubscribe)),
    $family->('address', 'address', 'string', {}, \@no_address, \@addresses,
        qw(get_balance get_mempool get_history listunspent subscribe
        unsubscribe get_status get_first_use get_scripthash)),
]
