#!/usr/bin/perl

# Scripts by their bytes (blockchain.scriptpubkey.*) when nothing is in memory:
# arguments are decoded where they lie, and a request that was put aside is read
# again, from text that must not have been decoded.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(scripthash);
use JSON::PP ();
use Time::HiRes qw(time);

my $P = 'blockchain.scriptpubkey';
my $JSON = JSON::PP->new->canonical->allow_nonref;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t, seed => 441, free_only => 1);
$s->base;
$s->grow(20);
$s->{node}->generate(12);
my %san = $t->san_env;
$s->serve(indexer => { live_window => 10, settle_batch => 3 },
    nginx => { workers => 1, env => { LD_PRELOAD => shim(),
        COLD_DELAY_US => 1000,
        ASAN_OPTIONS => "$san{ASAN_OPTIONS}:verify_asan_link_order=0" } });
my $p = $s->{model}->picture;
my %seen = map { $_->{script} => 1 } values %{ $p->{out} };
my @script = sort keys %seen;

subtest 'one by one' => sub { ask(1) };
subtest 'in batches' => sub { ask(20) };
$t->done;

sub shim {
    my $so = $t->path('coldpages.so');
    my ($out, $status) = ElectrumX::Proc->run(timeout => 60, cmd => [
        $ENV{CC} || 'cc', qw(-D_GNU_SOURCE -shared -fPIC -O1 -o), $so,
        "$ElectrumX::Test::ROOT/t/data/coldpages.c", '-lpthread']);
    die "cc: $out" if $status != 0;
    return $so;
}

sub tasks {
    my ($code, $body) = $t->http_get('/status');
    return JSON::PP::decode_json($body)->{worker}{cold}{tasks};
}

# Asks for histories and balances, so many in a message.
sub ask {
    my ($size) = @_;
    my $c = $t->client('tcp', timeout => 60);
    $c->version('1.7');
    my ($before, %want) = (tasks());
    my @r = map {
        my ($hex, $sh) = (unpack('H*', $_), scripthash($_));
        my $history = $c->make_request("$P.get_history", [$hex]);
        my $balance = $c->make_request("$P.get_balance", [uc $hex]);
        $want{ $history->{id} } = { history => $p->history($sh) };
        $want{ $balance->{id} } = $p->balance($sh);
        ($history, $balance);
    } @script;
    while (my @some = splice @r, 0, $size) {
        my $text = join ',', map { $c->encode($_) } @some;
        $c->send_raw($c->framed($size > 1 ? "[$text]" : $text));
    }
    my ($asked, $bad) = (scalar keys %want, 0);
    while (%want) {
        my $m = $c->read_message(20) or last;
        for my $a (ref $m eq 'ARRAY' ? @$m : $m) {
            my $want = delete $want{ $a->{id} // '' };
            next if defined $want
                && $JSON->encode($a->{result}) eq $JSON->encode($want);
            diag(substr $JSON->encode($a), 0, 300) if !$bad++;
        }
    }
    is(scalar(keys %want), 0, "$asked answers");
    is($bad, 0, 'all of them the model\'s');
    cmp_ok(tasks(), '>', $before, 'threads have read');
    $c->close;
    my $end = time + 4.5;
    $t->wait_for(sub { time > $end }, 10, 'known pages to become old');
}
