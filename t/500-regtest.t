#!/usr/bin/perl

# A chain of more than 300 blocks with all kinds of scripts, most of it
# settled, some live, and a mempool: every answer for every script hash,
# transaction and header is compared with what the node's own RPC says; then
# at three more heights, with transactions replaced and packages.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 500);

subtest 'the model agrees with the node' => \&model_agrees;
start_and_follow();
my $p = $s->settled(client('tcp', '1.4'));
note scalar(my @sh = $p->scripthashes), ' scripts, ',
    scalar(my @tx = $p->all_txids), ' transactions, ',
    scalar(my @pool = $p->mempool_txids), ' in the mempool';
check_settled();

# TCP everything, the others all scripts and headers, a third of the rest.
for (['tcp', '1.4'], ['tls', '1.4.2', 0], ['ws', '1.6', 1], ['wss', '1.4', 2])
{
    my ($transport, $version, $part) = @$_;
    my $cmp = ElectrumX::Compare->new(picture => $p, version => $version,
        client => client($transport, $version));
    $cmp->scripts;
    $cmp->headers;
    $cmp->transactions(third($part));
    $cmp->ok("$transport, protocol $version");
}

for my $transport (qw(tcp wss)) {
    my $cmp = ElectrumX::Compare->new(picture => $p, version => '1.6',
        client => client($transport, '1.6'), batch => 23);
    $cmp->scripts;
    $cmp->transactions(third($transport eq 'tcp' ? 0 : 1));
    $cmp->ok("$transport, batches");
}

after_restart();
subtest "at a height of chance, version $_" => \&by_chance, $_
    for '1.4', '1.5.3', '1.6';
$t->done;

sub client {
    my ($transport, $version) = @_;
    my $c = $t->client($transport, timeout => 30);
    is($c->version($version)->[1], $version, "$transport speaks $version");
    return $c;
}

# Every third transaction from $part on; all of them without.
sub third {
    my ($part) = @_;
    my @all = ($p->all_txids, $p->mempool_txids);
    return defined $part ? @all[grep { $_ % 3 == $part } 0 .. $#all] : @all;
}

# Both count the unspent outputs, and the amounts on all known scripts.
sub model_agrees {
    $s->base;
    my @kinds = $s->every_kind;
    $s->grow(60);
    my $p = $s->rescan;
    my %seen = map { $_->{script} => 1 } map { @{ $_->{vout} } }
        map { @{ $_->{txs} } } @{ $p->{chain} };
    is_deeply([grep { my $kind = $_; !grep { $seen{ $s->{coins}->script(
        $kind, $_) } } 0 .. 200 } @kinds], [], 'every kind of script');
    my $info = $s->{node}->rpc('gettxoutsetinfo', 'none');
    my @coins = grep { defined $_->{height} && !$_->{spent}
        && length $_->{script} <= 10_000 } values %{ $p->{out} };
    my $zero = grep { $_->{script} =~ /^\x00\x6a/ } map { @{ $_->{vout} } }
        map { @{ $_->{txs} } } @{ $p->{chain} };
    is(@coins + $zero, $info->{txouts}, 'unspent outputs');
    my %known = %{ $s->{coins}{kind} };
    my $scan = $s->{node}->rpc('scantxoutset', 'start',
        [map { $s->{node}->raw_descriptor($_) } grep {length} keys %known]);
    my $sum = 0;
    $sum += $_->{value}
        for grep { length $_->{script} && $known{ $_->{script} } } @coins;
    is($sum, sprintf('%.0f', $scan->{total_amount} * 1e8), 'amounts');
    is_deeply([sort $s->{node}->mempool], [sort $p->mempool_txids],
        'mempool');
}

# Half of the chain comes by initial sync, half block by block.
sub start_and_follow {
    $s->heavy(1300);
    $s->serve(indexer => { live_window => 20, settle_batch => 5 },
        nginx => { workers => 2 });
    $s->grow(60);
    $s->grow(2, exactly => $_) for 0, 1, 2, 3;
    $s->grow(1, exactly => 300);
    $s->grow(20);
    $s->heavy(1100);
    $s->{node}->generate(30);
    $s->grow(8);
    $s->fill_mempool(60);
    cmp_ok($s->{node}->height, '>', 300, 'a long chain');
    $t->wait_ready($s->{node}->height);
}

# Most is in the settled layer, or this test would not show anything.
sub check_settled {
    my @gen = glob $t->data . '/generations/*/manifest';
    my ($best) = sort { $b <=> $a }
        map { $t->read_file($_) =~ /^height (\d+)/m ? $1 : () } @gen;
    cmp_ok($best // 0, '>', $s->{node}->height - 40, 'settled height');
    cmp_ok($best // 0, '<=', $s->{node}->height - 20, 'live window');
}

# Some blocks later: all of what the mempool touches, and parts of the rest.
sub by_chance {
    my ($version) = @_;
    $s->grow(1 + int rand 9);
    $s->fill_mempool(20);
    cmp_ok($s->replace(5), '>', 0, 'some are replaced');
    cmp_ok($s->packages(4), '>', 0, 'some come as packages');
    my $c = client('tcp', $version);
    my $now = $s->settled($c);
    my @pool = $now->mempool_txids;
    cmp_ok(scalar(grep { $now->{pool}{$_}{height} < 0 } @pool), '>', 24,
        'a long chain in the mempool');
    my $cmp = ElectrumX::Compare->new(picture => $now, client => $c,
        version => $version);
    $cmp->scripts;
    $cmp->transactions(@pool, map { $now->txids($_) } 1 + int rand 100,
        $now->{height} - 12 .. $now->{height});
    $cmp->headers;
    $cmp->ok("height $now->{height}, " . @pool . ' in the mempool');
}

# The same from an index that was stopped and started again.
sub after_restart {
    is($t->stop_indexer, 0, 'the indexer ends with status 0');
    my $c = client('tcp', '1.6');
    my $cmp = ElectrumX::Compare->new(picture => $p, client => $c,
        version => '1.6');
    $cmp->scripts;
    $cmp->ok('while the indexer is away');
    $s->grow(3);
    $t->start_indexer($s->{node}->indexer_conf);
    $t->wait_ready($s->{node}->height);
    my $now = $s->settled($c);
    $cmp = ElectrumX::Compare->new(picture => $now, client => $c,
        version => '1.6');
    $cmp->all;
    $cmp->ok('after a restart of the indexer');
}
