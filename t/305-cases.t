#!/usr/bin/perl

# Each method in each version of the protocol: good arguments by position and
# by name, missing, superfluous, of the wrong type, out of range; results and
# errors exactly. The cases are the tables of t/data/cases, which say:
#
#   method  its name
#   params  [name, type, 1 if optional] each
#   good    [arguments, sub { my ($k, $version) = @_; the result }] each; the
#           result may be a function that says what is wrong with the answer
#   fail    [arguments, code, message (text or pattern), versions (pattern, or
#           all)] each
#   extra   superfluous arguments pass in every version
#   valid   arguments for the cases of wrong types, if not those of good
#
# $k has what they need of chain and mempool, see facts().

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use JSON::PP ();

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t, seed => 305);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->grow(8);
$s->serve(indexer => { live_window => 20 });
$s->grow(3);
$s->fill_mempool(12);
my $p = $s->settled($t->client('tcp'));
my $k = facts();
my $JSON = JSON::PP->new->canonical->allow_nonref->utf8;

my @VERSIONS = ('1.4', '1.4.2', '1.5.3', '1.6', '1.6.1', '1.7');

# Type -> [what is expected, values that are not it].
my ($TRUE, $FALSE) = (JSON::PP::true(), JSON::PP::false());
my %WRONG = (
    hash => ['64 hex digits expected', 5, '', 'ab', 'zz' x 32, 'ab' x 33,
        $TRUE, [], {}, ['ab' x 32]],
    script => ['a script in hex digits expected', 5, 'a', 'zz', '5 1', $TRUE,
        [], {}],
    uint => ['a non-negative integer expected', -1, 1.5, '', 'x', '-1', '1.5',
        '0x1', $TRUE, [], {}, 1e30, '99999999999999999999'],
    end => ['a non-negative integer or -1 expected', -2, 1.5, 'x', '-2', $TRUE,
        [], {}],
    bool => ['true or false expected', 2, -1, 'true', '1', '', [], {}],
    string => ['a string expected', 5, $TRUE, [], {}],
    hex => ['hex digits expected', 5, '', 'a', 'zz', '0x00', $TRUE, [], {}],
    hexes => ['a non-empty array of hex strings expected', 5, '00', [], {},
        [''], ['0'], ['zz'], [5], ['00', 'x'], [['00']], $TRUE],
    any => [''],
);

my (%of, $count);
for my $file (sort glob "$ElectrumX::Test::ROOT/t/data/cases/*.pl") {
    my $table = do $file or die "$file: " . ($@ || $!);
    $of{ $_->{method} } = $_ for @$table;
}
covers_all();
for my $version (@VERSIONS) {
    my $c = $t->client('tcp', timeout => 30);
    $c->version($version);
    subtest $version => sub {
        $count = 0;
        try($c, $version, $of{$_}) for sort keys %of;
        note "$count cases";
    };
}
$t->done;

# ---- what there is ----------------------------------------------------------

sub facts {
    my @txids = $p->txids($p->{height} - 1);
    my @pool = $p->mempool_txids;
    my ($sh) = sort { @{ $p->mempool($b) } <=> @{ $p->mempool($a) }
            || $a cmp $b } grep { @{ $p->history($_) } > 3 } $p->scripthashes;
    my $script = $coins->script('p2wpkh', 0);
    my @out = sort { $a->{txid} cmp $b->{txid} || $a->{vout} <=> $b->{vout} }
        values %{ $p->{out} };
    return { p => $p, node => $node, top => $p->{height}, sh => $sh,
        script => unpack('H*', $script),
        script_sh => ElectrumX::Tx::scripthash($script),
        address => $node->rpc('decodescript', unpack 'H*', $script)->{address},
        block => $node->hash_at(7), txid => $txids[-1], pool => $pool[0],
        none => 'ab' x 32, zero => '0' x 64,
        unspent => (grep { !$_->{spent} && !$_->{spent_pool}
            && ($_->{height} // 0) > 0 } @out)[0],
        spending => (grep { $_->{spent_pool} && $_->{height} } @out)[0],
    };
}

# Every method of the server's table has its cases, and no other.
sub covers_all {
    my $text = $t->read_file(
        "$ElectrumX::Test::ROOT/ngx_electrumx_module/ngx_electrumx_methods.c");
    my %there = map { $_ => 1 } $text =~ /\{ ngx_string\("([\w.]+)"\)/g;
    is_deeply([sort keys %of], [sort keys %there], 'all methods have cases');
}

# ---- one method, one version ------------------------------------------------

sub try {
    my ($c, $version, $m) = @_;
    my @params = @{ $m->{params} };
    my $extra = $version =~ /^1\.[67]/ || $m->{extra};
    my @cases;
    for my $g (@{ $m->{good} }) {
        my ($args, $want) = @$g;
        push @cases, map { [$_, $want] } forms($args, @params);
        push @cases, $extra ? map { [$_, $want] } too_much($args, @params)
            : map { [$_, undef, -32602, ref $_ eq 'HASH'
                ? 'unknown argument: surplus' : 'too many arguments: '
                . @$_ . " given, at most " . @params . ' taken']
            } too_much($args, @params);
    }
    push @cases, wrong_types($m), missing($m);
    for my $f (@{ $m->{fail} || [] }) {
        my ($args, $code, $message, $versions) = @$f;
        next if $versions && $version !~ $versions;
        $args = $args->($k) if ref $args eq 'CODE';
        push @cases, map { [$_, undef, $code, $message] }
            forms($args, @params);
    }
    run($c, $version, $m->{method}, @cases);
}

# By position, by name, and with null in place of what is left out.
sub forms {
    my ($args, @params) = @_;
    $args = $args->($k) if ref $args eq 'CODE';
    return ($args) if ref $args eq 'HASH';
    my @forms = ($args);
    push @forms, { map { $params[$_][0] => $args->[$_] } 0 .. $#$args }
        if @$args && @$args <= @params;
    push @forms, [@$args, map {undef} @params[@$args .. $#params]]
        if @$args < @params && $params[@$args][2];
    return @forms;
}

sub too_much {
    my ($args, @params) = @_;
    $args = $args->($k) if ref $args eq 'CODE';
    return () if ref $args eq 'HASH' || @$args > @params;
    return ([@$args, (map {undef} @params[@$args .. $#params]), 'surplus'],
        { surplus => [1], map { $params[$_][0] => $args->[$_] } 0 .. $#$args });
}

# The arguments before the wrong one are those of the first good case.
sub first_good {
    my ($m) = @_;
    my $args = $m->{valid} || ($m->{good}[0] || [[]])->[0];
    $args = $args->($k) if ref $args eq 'CODE';
    return @$args;
}

sub wrong_types {
    my ($m) = @_;
    my @good = first_good($m);
    my @params = @{ $m->{params} };
    my @cases;
    for my $i (0 .. $#params) {
        my ($name, $type, $optional) = @{ $params[$i] };
        last if $i > @good;
        my ($words, @bad) = @{ $WRONG{$type} };
        push @bad, undef if !$optional && $type ne 'any';
        for my $bad (@bad) {
            my @args = (@good[0 .. $i - 1], $bad);
            push @cases, map { [$_, undef, -32602, "$name: $words"] } \@args,
                { map { $params[$_][0] => $args[$_] } 0 .. $i };
        }
    }
    return @cases;
}

sub missing {
    my ($m) = @_;
    my @good = first_good($m);
    my @params = @{ $m->{params} };
    my @cases;
    for my $i (grep { !$params[$_][2] } 0 .. $#params) {
        push @cases, map { [$_, undef, -32602,
            "$params[$i][0]: missing argument"] } [@good[0 .. $i - 1]],
            { map { $params[$_][0] => $good[$_] } 0 .. $i - 1 };
    }
    return @cases;
}

sub run {
    my ($c, $version, $method, @cases) = @_;
    my @bad;
    while (my @part = splice @cases, 0, 20) {
        my @ids = map { $c->send_request($method, $_->[0]) } @part;
        for my $case (@part) {
            my $wrong = judge($c->answer(shift @ids), $version, $case);
            $count++;
            push @bad, $JSON->encode($case->[0]) . ": $wrong"
                if defined $wrong;
        }
    }
    ok(!@bad, $method) or diag join "\n",
        map { substr $_, 0, 600 } @bad[0 .. ($#bad > 5 ? 5 : $#bad)];
}

# What is wrong with an answer, or undef.
sub judge {
    my ($answer, $version, $case) = @_;
    my (undef, $want, $code, $message) = @$case;
    my $e = delete $answer->{error};
    delete $answer->{id};
    delete $answer->{jsonrpc};
    if (!defined $code) {
        return "error $e->{code} $e->{message}" if $e;
        my $expected = $want->($k, $version);
        return $expected->($answer->{result}) if ref $expected eq 'CODE';
        my ($g, $w) = map { $JSON->encode($_) } $answer,
            { result => $expected };
        return $g eq $w ? undef : "$g, wanted $w";
    }
    return 'no error: ' . $JSON->encode($answer) if !$e;
    my $same = ref $message ? $e->{message} =~ $message
        : $e->{message} eq $message;
    return "code $e->{code}, message '$e->{message}', wanted $code $message"
        if $e->{code} != $code || !$same;
    return 'more than an error' if keys %$answer || keys %$e != 2;
    return undef;
}
