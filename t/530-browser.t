#!/usr/bin/perl

# A real browser (Chromium, headless) is a client over ws:// and wss://: a page
# of ours, served by the same nginx, asks, subscribes, and is told of a block.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use Time::HiRes qw(time);

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind chromium openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 530, free_only => 1);
$s->base;
$s->serve(indexer => { live_window => 20 }, nginx => { workers => 2 });
my $p = $s->{model}->picture;
my $script = $s->{coins}->script('true');
my $sh = ElectrumX::Tx::scripthash($script);

my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 10,
    LocalPort => $t->port('report'), ReuseAddr => 1) or die "listen: $!";
my @urls = ('ws://127.0.0.1:' . $t->port('ws') . '/',
    'wss://127.0.0.1:' . $t->port('wss') . '/');
start_browser();

my %subscribed;
while (keys %subscribed < 2) {
    my $r = next_report(60);
    die "browser: $r->{failed}\n" if $r->{failed};
    $subscribed{ $r->{subscribed} } = 1 if $r->{subscribed};
}
$s->{node}->generate(1);
my $r = next_report(30);
ok(!$r->{failed}, 'the page ran to its end') or diag $r->{failed};
my $now = $s->{model}->picture;
check($_) for @{ $r->{results} };
$t->done;

# ---- browser ----------------------------------------------------------------

sub start_browser {
    $t->write_file('static/browser.html',
        $t->read_file("$ElectrumX::Test::ROOT/t/data/browser.html"));
    my $job = JSON::PP->new->canonical->encode({ urls => \@urls,
        script => $sh,
        report => 'http://127.0.0.1:' . $t->port('report') . '/' });
    $job =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge;
    my $page = 'http://127.0.0.1:' . $t->port('ws') . '/static/browser.html';
    mkdir $t->path('home');
    $t->start('chromium', env => { HOME => $t->path('home'),
        TMPDIR => $t->dir,
        XDG_CONFIG_HOME => $t->path('home'), DBUS_SESSION_BUS_ADDRESS => '' },
        cmd => [qw(chromium --headless --no-sandbox --disable-gpu
            --disable-quic --no-first-run --disable-background-networking
            --disable-component-update --disable-sync --disable-extensions
            --disable-dev-shm-usage --disable-breakpad --no-proxy-server
            --ignore-certificate-errors --remote-debugging-port=0),
            '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
            '--user-data-dir=' . $t->path('profile'), "$page#$job"]);
}

# The next thing that the page posts.
sub next_report {
    my ($seconds) = @_;
    my $end = time + $seconds;
    while (time < $end) {
        die "chromium ended\n" if !$t->proc('chromium')->running;
        IO::Select->new($listener)->can_read(0.2) or next;
        my $body = read_post($listener->accept) // next;
        return JSON::PP->new->utf8->decode($body);
    }
    diag($t->tail('chromium.log', 5));
    die "the browser did not report\n";
}

sub read_post {
    my ($c) = @_;
    my $in = '';
    my $end = time + 5;
    while (time < $end) {
        my ($head, $body) = split /\r\n\r\n/, $in, 2;
        my ($n) = ($head // '') =~ /^Content-Length: (\d+)/mi;
        if (defined $body && length $body >= ($n // 0)) {
            print {$c} "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            return $n ? $body : undef;
        }
        sysread $c, $in, 65536, length $in or return undef;
    }
    return undef;
}

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
