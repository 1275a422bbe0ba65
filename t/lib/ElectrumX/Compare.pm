package ElectrumX::Compare;

# Compares what the server answers with a picture of ElectrumX::Model.
#
#   my $cmp = ElectrumX::Compare->new(client => $c, picture => $p,
#       version => '1.6', batch => 20);       # batch: JSON-RPC batches of 20
#   $cmp->scripts;  $cmp->scripts(@scripthashes);     # all five methods each
#   $cmp->transactions; $cmp->transactions(@txids);   # get, merkle, position
#   $cmp->headers;                           # header, headers, cp_height
#   $cmp->all;                               # the three above
#   $cmp->ok('name');            # one test: no difference; count in a note
#   $cmp->expect($method, \@params, $expected);       # one more comparison
#   ElectrumX::Compare::wait_same($t, $client, $picture, $seconds);
#       # until tip and mempool are the picture's and transactions can be had
#       # from the node; dies if it takes longer

use strict;
use warnings;
use JSON::PP ();
use Test::More ();
use Time::HiRes qw(sleep time);

my $JSON = JSON::PP->new->canonical->allow_nonref;
my $S = 'blockchain.scripthash';
my $T = 'blockchain.transaction';
our $CHUNK = 100;    # requests under way at once

sub new {
    my ($class, %o) = @_;
    return bless { version => '1.4', count => 0, diff => [], queue => [],
        more => 0, start => time, %o }, $class;
}

# $norm: changes an answer before it is compared.
sub expect {
    my ($self, $method, $params, $expected, $norm) = @_;
    push @{ $self->{queue} }, [$method, $params, $expected, $norm];
    $self->flush if @{ $self->{queue} } >= $CHUNK;
}

sub flush {
    my ($self) = @_;
    my @queue = splice @{ $self->{queue} };
    return if !@queue;
    my @calls = map { [$_->[0], @{ $_->[1] }] } @queue;
    my @answers = $self->{batch} ? $self->_batches(@calls)
        : $self->{client}->pipeline(@calls);
    $self->_compare($queue[$_], $answers[$_]) for 0 .. $#queue;
}

sub _batches {
    my ($self, @calls) = @_;
    my @answers;
    while (my @part = splice @calls, 0, $self->{batch}) {
        push @answers, @{ $self->{client}->batch(@part) };
    }
    return @answers;
}

sub _compare {
    my ($self, $q, $answer) = @_;
    my ($method, $params, $expected, $norm) = @$q;
    $self->{count}++;
    my $got = exists $answer->{result} && !$answer->{error}
        ? $answer->{result} : { error => $answer->{error} };
    $got = $norm->($got) if $norm && ref $got ne 'HASH';
    my ($g, $e) = map { $JSON->encode($_) } $got, $expected;
    return if $g eq $e;
    $self->{more}++;
    return if @{ $self->{diff} } >= 10;
    push @{ $self->{diff} }, "$method " . _short($JSON->encode($params))
        . "\n   got " . _short(_around($g, $e))
        . "\n  want " . _short(_around($e, $g));
}

# From a little before the first difference on.
sub _around {
    my ($x, $y) = @_;
    my $n = 0;
    if (length $x > 200 && ("$x" ^ "$y") =~ /^(\0*)/) {
        $n = length $1;
    }
    return $n < 60 ? $x : '...' . substr $x, $n - 57;
}

sub _short { return length $_[0] > 400 ? substr($_[0], 0, 400) . '...' : $_[0] }

sub ok {
    my ($self, $name) = @_;
    $self->flush;
    my $n = $self->{more};
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    Test::More::ok(!$n, "$name: $self->{count} answers")
        or Test::More::diag(join "\n", "$n differences", @{ $self->{diff} });
    Test::More::note(sprintf '%.1f s', time - $self->{start});
    return !$n;
}

# ---- families ---------------------------------------------------------------

sub all {
    my ($self) = @_;
    $self->scripts;
    $self->transactions;
    $self->headers;
}

# Confirmed coins keep their order; the order of those in the mempool is free.
sub sort_unspent {
    my ($list) = @_;
    return $list if ref $list ne 'ARRAY';
    my @pool = sort { $a->{tx_hash} cmp $b->{tx_hash}
            || $a->{tx_pos} <=> $b->{tx_pos} } grep { !$_->{height} } @$list;
    my @chain = grep { $_->{height} } @$list;
    my $last = grep { !$list->[$_]{height} } 0 .. $#chain;
    return ['mempool coins before confirmed ones'] if $last;
    return [@chain, @pool];
}

sub scripts {
    my ($self, @sh) = @_;
    my $p = $self->{picture};
    @sh = $p->scripthashes if !@sh;
    for my $sh (@sh) {
        $self->expect("$S.get_history", [$sh], $p->history($sh));
        $self->expect("$S.get_balance", [$sh], $p->balance($sh));
        $self->expect("$S.get_mempool", [$sh], $p->mempool($sh));
        $self->expect("$S.subscribe", [$sh], $p->status($sh));
        $self->expect("$S.listunspent", [$sh], sort_unspent($p->unspent($sh)),
            \&sort_unspent);
    }
    $self->flush;
}

sub transactions {
    my ($self, @txids) = @_;
    my $p = $self->{picture};
    @txids = ($p->all_txids, $p->mempool_txids) if !@txids;
    for my $txid (@txids) {
        $self->expect("$T.get", [$txid], $p->raw($txid));
        my ($h, $pos) = $p->where($txid) or next;
        $self->expect("$T.get_merkle", [$txid, $h], $p->merkle($txid));
        my $id = $p->id_from_pos($h, $pos);
        $self->expect("$T.id_from_pos", [$h, $pos], $id->{tx_hash});
        $self->expect("$T.id_from_pos", [$h, $pos, JSON::PP::true()], $id);
    }
    $self->flush;
}

sub headers {
    my ($self) = @_;
    my $p = $self->{picture};
    my $top = $p->{height};
    my $B = 'blockchain.block';
    $self->expect("$B.header", [$_], $p->header($_)) for 0 .. $top;
    for my $h (0 .. $top) {
        my $cp = $h % 3 == 0 ? $top : $h + int rand $top - $h + 1;
        next if !$cp;
        $self->expect("$B.header", [$h, $cp], $p->header_proof($h, $cp));
    }
    for my $cp (1 .. $top) {
        my $h = int rand $cp + 1;
        $self->expect("$B.header", [$h, $cp], $p->header_proof($h, $cp));
    }
    my $v = $self->{version};
    my @ranges = ([0, 2016, 0], [0, $top + 1, $top], [0, 1, $top], [$top, 1, $top],
        [$top, 10, 0], [$top + 1, 5, 0], [0, 5000, 0], [10, 0, 0]);
    push @ranges, [int rand $top, 1 + int rand 40, 0] for 1 .. 20;
    for (1 .. 20) {
        my $start = int rand $top - 10;
        my $count = 1 + int rand 10;
        push @ranges, [$start, $count, $start + $count - 1
            + int rand $top - $start - $count + 2];
    }
    $self->expect("$B.headers", $_, $p->headers(@$_, $v)) for @ranges;
    $self->expect('blockchain.headers.subscribe', [],
        { height => $top, hex => $p->header($top) });
    $self->flush;
}

# ---- waiting ----------------------------------------------------------------

# Status by script of what the mempool touches, and of @$extra.
sub wait_same {
    my ($t, $client, $p, $seconds, $extra) = @_;
    my %sh = map { $_ => 1 } @{ $extra || [] };
    $sh{$_} = 1 for keys %{ $p->{poolhist} };
    my $want = $JSON->encode({ height => $p->{height},
        hex => $p->header($p->{height}) });
    my $last = '';
    eval { $t->wait_for(
        sub {
            my $tip = $client->call('blockchain.headers.subscribe');
            $last = 'tip', return if $JSON->encode($tip) ne $want;
            for my $sh (sort keys %sh) {
                my $h = $client->call("$S.get_history", $sh);
                $last = "history of $sh";
                return if $JSON->encode($h)
                    ne $JSON->encode($p->history($sh));
            }
            my $r = $client->request("$T.get", ($p->txids(1))[0]);
            $last = 'the node behind it';
            return !$r->{error};
        }, $seconds // 15, "server shows the node's chain and mempool");
        1 } or die "$@what differs: $last\n";
}

1;
