#!/usr/bin/perl

# A real browser (Chromium, headless) is a client over ws:// and wss://: a page
# of ours, served by the same nginx, asks, subscribes, and is told of a block.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Browser;

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind chromium openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 530, free_only => 1);
$s->base;
$s->serve(indexer => { live_window => 20 }, nginx => { workers => 2 });
my $p = $s->{model}->picture;
my $script = $s->{coins}->script('true');
my $sh = ElectrumX::Tx::scripthash($script);

my $browser = ElectrumX::Browser->new($t);
my @urls = ('ws://127.0.0.1:' . $t->port('ws') . '/',
    'wss://127.0.0.1:' . $t->port('wss') . '/');
$t->write_file('static/browser.html',
    $t->read_file("$ElectrumX::Test::ROOT/t/data/browser.html"));
$browser->open('browser.html', { urls => \@urls, script => $sh,
    report => $browser->url });

my %subscribed;
while (keys %subscribed < 2) {
    my $r = $browser->next_report(60);
    die "browser: $r->{failed}\n" if $r->{failed};
    $subscribed{ $r->{subscribed} } = 1 if $r->{subscribed};
}
$s->{node}->generate(1);
my $r = $browser->next_report(30);
ok(!$r->{failed}, 'the page ran to its end') or diag $r->{failed};
my $now = $s->{model}->picture;
check($_) for @{ $r->{results} };
$t->done;

# ---- what it saw ------------------------------------------------------------

sub check {
    my ($r) = @_;
    subtest $r->{url} => sub {
        is($r->{version}{result}[1], '1.6', 'version');
        is_deeply($r->{tip}{result}, { height => $p->{height},
            hex => $p->header($p->{height}) }, 'tip');
        is($r->{status}{result}, $p->status($sh), 'status');
        is_deeply($r->{history}{result}, $p->history($sh), 'history');
        is_deeply($r->{headers}{result}, $p->headers(0, 2016, 0, '1.6'),
            'headers');
        is($r->{wrong}{error}{code}, -32601, 'no such method');
        is_deeply($r->{told_tip}, [{ height => $now->{height},
            hex => $now->header($now->{height}) }], 'told of the block');
        is_deeply($r->{told_script}, [$sh, $now->status($sh)],
            'told of the script');
        is($r->{closed}{code}, 1000, 'closed with 1000');
        ok($r->{closed}{clean}, 'clean end');
    };
}
