#!/usr/bin/perl

# Queries while blocks come in and others are settled, published and trimmed
# from the live layer: each batch is answered from one moment.  The batch asks
# for the tip, so the height of that moment is known, and every other answer of
# it must be what the finished chain says about that height.  Passes of tidying
# end meanwhile, each with a generation of the same height as the one before.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);

my $BLOCKS = $ENV{TEST_BLOCKS} || 120;
my $JSON = JSON::PP->new->canonical->allow_nonref;
my $S = 'blockchain.scripthash';

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 405, free_only => 1);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->grow(20);
$s->serve(indexer => { live_window => 10, settle_batch => 2 },
    nginx => { workers => 2 });
my @scripts = $s->{model}->picture->scripthashes;
my $first = $node->height;

my @clients = map { my $c = $t->client($_, timeout => 20);
    $c->version('1.6'); $c } qw(tcp ws tcp tls);
my $pid = mine_meanwhile();
my @asked = ask_until_mined();
is($?, 0, 'all blocks were made');
$t->wait_ready($node->height);
passes_were_published();
my $p = $s->settled($clients[0]);
is($p->{height}, $first + $BLOCKS, 'height at the end');
check();
$t->done;

# ---- meanwhile --------------------------------------------------------------

sub mine_meanwhile {
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    delete $node->{sock};
    eval {
        for (1 .. $BLOCKS) {
            $coins->mine(int rand 5);
            sleep 0.02;
        }
        1;
    } or print STDERR $@;
    POSIX::_exit($@ ? 1 : 0);
}

# [calls, answers, client] of each batch.
sub ask_until_mined {
    my @asked;
    my $end = time + 60;
    while (waitpid($pid, POSIX::WNOHANG()) == 0 && time < $end) {
        my $i = int rand @clients;
        my @calls = (['blockchain.headers.subscribe'],
            map { random_call() } 1 .. 8);
        my $answers = $clients[$i]->batch(@calls);
        push @asked, [\@calls, $answers, $i];
    }
    return @asked;
}

sub random_call {
    my $sh = $scripts[rand @scripts];
    return ["$S." . (qw(get_history listunspent get_balance subscribe))
        [rand 4], $sh] if rand() < 0.8;
    my $h = int rand $first;
    return ['blockchain.block.header', $h, $h + int rand $first - $h]
        if rand() < 0.5;
    return ['blockchain.transaction.id_from_pos', $h, 0];
}

# ---- afterwards -------------------------------------------------------------

# What tidying made is on the list and is what remains.
sub passes_were_published {
    my $log = $t->path('indexer.log');
    my (%of, $again);
    my $passes = () = $t->read_file($log) =~ /tidy: end of a /g;
    for ($t->read_file($log) =~ /settled up to block (\d+), generation/g) {
        $again++ if $of{$_}++;
        fail("block $_ was published $of{$_} times") if $of{$_} > 2;
    }
    cmp_ok($again // 0, '>', 0,
        "$passes folds and rewrites, published again at one height");
    cmp_ok($again // 0, '<=', $passes, '... once for each');
    # the listed one, and two for a fallback to 100 blocks below
    $t->wait_for(sub { my @gens = glob $t->data . '/generations/*';
        @gens <= 3 }, 40, 'pruned generations');
    pass('generations are pruned');
}

sub check {
    my ($answers, $wrong, $back, %heights, %last) = (0, 0, 0);
    for my $batch (@asked) {
        my ($calls, $got, $i) = @$batch;
        my $h = $got->[0]{result}{height};
        $heights{$h}++;
        $back++ if $h < ($last{$i} // 0);
        $last{$i} = $h;
        for my $n (1 .. $#$calls) {
            my ($g, $w) = map { $JSON->encode($_) } normal($calls->[$n],
                $got->[$n]{error} || $got->[$n]{result}),
                wanted($h, @{ $calls->[$n] });
            $answers++;
            next if $g eq $w;
            diag("at $h: @{ $calls->[$n] }\n got $g\nwant $w")
                if $wrong++ < 5;
        }
    }
    note "$answers answers at ", scalar(keys %heights), ' heights';
    cmp_ok(scalar keys %heights, '>', $BLOCKS / 4, 'many heights were seen');
    is($wrong, 0, 'each answer is that of the height of its batch');
    is($back, 0, 'no connection saw an earlier height again');
}

sub normal {
    my ($call, $x) = @_;
    return $call->[0] =~ /listunspent/
        ? ElectrumX::Compare::sort_unspent($x) : $x;
}

# What the chain says when $h is its tip.
sub wanted {
    my ($h, $method, @params) = @_;
    return $p->header_proof(@params) if $method =~ /header$/ && $params[1];
    return $p->header($params[0]) if $method =~ /header$/;
    return $p->id_from_pos(@params)->{tx_hash} if $method =~ /id_from_pos/;
    my $sh = $params[0];
    my @history = grep { $_->{height} <= $h } @{ $p->history($sh) };
    return \@history if $method =~ /get_history/;
    return ElectrumX::Model::Picture::status_of(@history)
        if $method =~ /subscribe/;
    my @coins = sort { $a->{order} <=> $b->{order}
            || $a->{vout} <=> $b->{vout} }
        grep { $_->{height} <= $h && !spent_at($_, $h) }
        @{ $p->{coins}{$sh} || [] };
    return [map { { tx_hash => $_->{txid}, tx_pos => $_->{vout},
        height => $_->{height}, value => $_->{value} } } @coins]
        if $method =~ /listunspent/;
    my $sum = 0;
    $sum += $_->{value} for @coins;
    return { confirmed => $sum, unconfirmed => 0 };
}

sub spent_at {
    my ($coin, $h) = @_;
    return $coin->{spent} && ($p->where($coin->{spent}))[0] <= $h;
}
