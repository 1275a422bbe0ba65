#!/usr/bin/perl

# Sessions over TCP, TLS and WebSocket with a real nginx and no index: framing,
# pipelining, limits, slow readers, timeouts, reload.  server.ping and
# server.banner need no index.

use lib 't/lib';
use ElectrumX::Test;
use IO::Select;
use Socket qw(SHUT_WR);
use Time::HiRes qw(sleep time);

my $BANNER = 'x' x 15000;
my $BANNER_REQUEST = '{"id":1,"method":"server.banner"}' . ' ' x 8000;
my $t = ElectrumX::Test->new(needs => [qw(nginx openssl tls)]);
$t->write_file('banner', $BANNER);
my $banner = 'banner ' . $t->path('banner') . ';';
my @all = qw(tcp tls ws wss);
my $asan = `${\ ElectrumX::Test::nginx_program()} -V 2>&1` =~ /fsanitize/;

start("max_request 64k; max_queue 64k; $banner");
subtest 'pipelining' => \&pipelining;
subtest 'split writes' => \&split_writes;
subtest 'lines' => \&lines;
subtest 'large requests' => \&large;
subtest 'too large requests' => \&too_large;
subtest 'half-close' => \&half_close;
subtest 'a turn that ends with its input' => \&whole_turn;
subtest 'slow readers' => \&slow_readers;
subtest 'fairness' => \&fairness;
subtest 'clients that go away' => \&gone;
subtest 'noise' => \&noise;
subtest 'WebSocket handshake' => \&handshake;
subtest 'WebSocket frames' => \&frames;
subtest 'memory of idle sessions' => \&idle_memory;
subtest 'reload' => \&reload;
start("idle_timeout 3s; send_timeout 1s; max_queue 64k; $banner");
subtest 'idle timeout' => \&idle_timeout;
subtest 'send timeout' => \&send_timeout;
start('', main => 'worker_shutdown_timeout 1s;');
subtest 'worker_shutdown_timeout' => \&shutdown_timeout;
start('', tcp_listen => 'proxy_protocol', ws_listen => 'sndbuf=4k',
    wss_listen => 'sndbuf=4k', http => 'client_header_buffer_size 64k;',
    server => 'location = /large { electrumx_pass main; add_header X-Pad '
        . 'x' x 3000 . ' always; }');
subtest 'an upgrade that has to wait' => \&blocked_upgrade;
subtest 'PROXY protocol' => \&proxy_protocol;
$t->done;

sub start {
    my ($electrumx, %o) = @_;
    $t->stop_nginx if $t->proc('nginx');
    $t->start_nginx(electrumx => $electrumx, %o);
}

sub ping { return qq({"jsonrpc":"2.0","id":$_[0],"method":"server.ping"}) }

sub status { return ElectrumX::Client->decode(($t->http_get('/status'))[1]) }

sub sessions { return status()->{worker}{sessions} }

# Resident memory of the one worker, in KB.
sub memory {
    my ($pid) = $t->worker_pids;
    my ($kb) = $t->read_file("/proc/$pid/status") =~ /^VmRSS:\s+(\d+)/m;
    return $kb;
}

# True if the server closes; reads the close frame, too.
sub ended {
    my ($c, $timeout) = @_;
    my $ended = $c->closed($timeout // 5);
    $c->read_text(0);
    return $ended;
}

# ---- messages in --------------------------------------------------------------

sub pipelining {
    my $n = 10000;
    for my $transport (@all) {
        my $c = $t->client($transport, timeout => 30);
        my $start = time;
        $c->send_raw(join '', map { $c->framed(ping($_)) } 1 .. $n);
        my ($got, $bad) = (0, 0);
        while ($got < $n) {
            my $text = $c->read_text // last;
            $got++;
            $bad++ if $text !~ /"id":\s*$got\b/ || $text !~ /"result":\s*null/;
        }
        is($got, $n, "$transport: $n pings are answered");
        is($bad, 0, "$transport: in order");
        diag(sprintf '%s: %d pings in %.2f s', $transport, $n, time - $start);
    }
}

sub split_writes {
    for my $transport (@all) {
        my $c = $t->client($transport, split_pause => 0.001);
        my $bytes = $c->framed(ping(1)) . $c->framed(ping(2));
        $c->send_split($bytes, (1) x length $bytes);
        like($c->read_text(5), qr/"id":\s*1\b/, "$transport: byte by byte");
        like($c->read_text(5), qr/"id":\s*2\b/, "$transport: the second");
        for my $size (2, 3, 7, 50) {
            $c->send_split($c->framed(ping($size)), ($size) x 60);
            like($c->read_text(5), qr/"id":\s*$size\b/,
                "$transport: $size bytes at a time");
        }
    }
}

sub lines {
    my $c = $t->client('tcp');
    $c->send_raw("\n\r\n\n" . ping(1) . "\r\n\n" . ping(2) . "\n");
    like($c->read_text(5), qr/"id":\s*1\b/, 'CRLF, empty lines');
    like($c->read_text(5), qr/"id":\s*2\b/, 'LF');
    $c->send_raw("nonsense\n" . ping(3) . "\n");
    like($c->read_text(5), qr/-32700/, 'not JSON');
    like($c->read_text(5), qr/"id":\s*3\b/, 'goes on');
}

sub large {
    for my $transport (@all) {
        my $c = $t->client($transport);
        my $text = ping(1) . ' ' x (65536 - length ping(1));
        $c->send_text($text);
        like($c->read_text(5), qr/"id":\s*1\b/, "$transport: 64 KB");
        $c->send_text(ping($_) . ' ' x 60000) for 1 .. 50;
        my $good = grep { ($c->read_text(5) // '') =~ /"id":\s*$_\b/ } 1 .. 50;
        is($good, 50, "$transport: 50 of them");
    }
}

sub too_large {
    for my $transport (qw(tcp tls)) {
        my $c = $t->client($transport);
        $c->send_raw('x' x 65537 . "\n" . ping(1) . "\n");
        like($c->read_text(5), qr/-32600/, "$transport: an error");
        like($c->read_text(5), qr/"id":\s*1\b/, "$transport: goes on");
        $c->send_raw('x' x 3_000_000);
        like($c->read_text(5), qr/-32600/, "$transport: before its end");
        $c->send_raw('x' x 3_000_000 . "\n" . ping(2) . "\n");
        like($c->read_text(5), qr/"id":\s*2\b/, "$transport: once");
    }
    for my $transport (qw(ws wss)) {
        my $c = $t->client($transport);
        $c->send_text(ping(1));
        $c->send_text('x' x 70000);
        like($c->read_text(5), qr/"id":\s*1\b/, "$transport: good ones before");
        like($c->read_text(5), qr/-32600/, "$transport: an error");
        ok(ended($c), "$transport: closed");
        is($c->{close_code}, 1009, "$transport: with code 1009");
        $c = $t->client($transport);
        $c->send_raw($c->{ws}->frame('text', '', length => 1 << 40));
        like($c->read_text(5), qr/-32600/, "$transport: the length is enough");
        ok(ended($c), "$transport: closed");
    }
}

# ---- messages out -------------------------------------------------------------

sub half_close {
    my $c = $t->client('tcp', timeout => 20);
    my $n = 500;
    $c->send_raw(join '', map {"$_\n"} map { (ping($_),
            qq({"id":$_,"method":"server.banner"})) } 1 .. $n);
    shutdown $c->{sock}, SHUT_WR;
    my $got = 0;
    $got++ while defined $c->read_text(10);
    is($got, 2 * $n, 'all answers come after the end of the requests');
    ok($c->{eof}, 'then the server closes');
    $c = $t->client('tcp');
    $c->send_raw(ping(1) . "\n" . ping(2));
    shutdown $c->{sock}, SHUT_WR;
    like($c->read_text(5), qr/"id":\s*1\b/, 'a whole line is answered');
    is($c->read_text(5), undef, 'an unfinished one is not');
    ok($c->{eof}, 'closed');
}

# A turn takes 128 messages.  When they are all that was read, nothing is kept
# that would bring the session back: what is still in the socket, and the end of
# the requests, must do so.
sub whole_turn {
    my ($pid) = $t->worker_pids;
    my $padded = sub {
        my ($c, $id) = @_;
        my $text = ping($id);
        $text .= ' ' while length $c->framed($text) < 256;
        return $c->framed($text);
    };
    for my $transport (@all) {
        my $c = $t->client($transport);
        $c->send_text(ping(0));
        like($c->read_text(5), qr/"id":\s*0\b/, "$transport: is there");
        kill 'STOP', $pid;
        $c->send_raw(join '', map { $padded->($c, $_) } 1 .. 256);
        kill 'CONT', $pid;
        my $got = 0;
        $got++ while $got < 256 && defined $c->read_text(5);
        is($got, 256, "$transport: a full buffer twice");
    }
    my $c = $t->client('tcp');
    $c->send_text(ping(0));
    like($c->read_text(5), qr/"id":\s*0\b/, 'another one');
    kill 'STOP', $pid;
    $c->send_raw(join '', map { ping($_) . "\n" } 1 .. 128);
    shutdown $c->{sock}, SHUT_WR;
    kill 'CONT', $pid;
    my $got = 0;
    $got++ while $got < 128 && defined $c->read_text(5);
    is($got, 128, 'the last requests are answered');
    is($c->read_text(5), undef, 'nothing more');
    ok($c->{eof}, 'closed at once');
}

# Writes until the server takes no more for half a second; bytes written.
sub stuff {
    my ($c, $bytes) = @_;
    my ($sum, $quiet) = (0, 0);
    while ($quiet < 10 && length $bytes) {
        my $n = syswrite $c->{sock}, $bytes, 65536;
        if (defined $n) {
            substr $bytes, 0, $n, '';
            ($sum, $quiet) = ($sum + $n, 0);
            next;
        }
        die "write: $!" if !$c->_again;
        $quiet++;
        sleep(0.05);
    }
    return $sum;
}

sub slow_readers {
    for my $transport (@all) {
        my $c = $t->client($transport, rcvbuf => 65536, timeout => 60);
        my $one = $c->framed($BANNER_REQUEST);
        my $n = 3000;
        my $before = memory();
        my $sent = stuff($c, $one x $n);
        my $grown = memory() - $before;
        cmp_ok($sent, '<', $n * length $one,
            "$transport: the server stops reading");
        cmp_ok($grown, '<', $asan ? 40000 : 6000,
            "$transport: its memory is bounded ($grown KB more)");
        my $other = $t->client($transport);
        is($other->call('server.ping'), undef, "$transport: others are served");
        $n = int($sent / length $one);
        my $bad = 0;
        for (1 .. $n) {
            my $text = $c->read_text(10) // last;
            $bad++ if length $text < length $BANNER;
            $n--;
        }
        is($n, 0, "$transport: all answers come when it reads");
        is($bad, 0, "$transport: whole");
        my $more = length($one) - $sent % length $one;
        $c->send_raw(substr $one x 11, -$more - 10 * length $one);
        my $got = grep { length($c->read_text(10) // '') > length $BANNER }
            0 .. 10;
        is($got, 11, "$transport: it goes on");
    }
}

sub fairness {
    my @busy = map { $t->client('tcp', timeout => 30) } 1 .. 3;
    my $other = $t->client('tcp');
    my $flood = (ping(1) . "\n") x 60000;
    my ($worst, $sum, $count) = (0, 0, 0);
    my %left = map { $_ => $flood } 0 .. $#busy;
    my $end = time + 3;
    while (%left && time < $end) {
        for my $i (keys %left) {
            my $n = syswrite $busy[$i]{sock}, $left{$i}, 1 << 18;
            substr $left{$i}, 0, $n, '' if $n;
            delete $left{$i} if !length $left{$i};
            sysread $busy[$i]{sock}, my $buf, 1 << 20;
        }
        my $start = time;
        $other->call('server.ping');
        my $took = time - $start;
        $worst = $took if $took > $worst;
        ($sum, $count) = ($sum + $took, $count + 1);
    }
    diag(sprintf 'ping beside a flood: %.1f ms, worst %.1f ms (%d)',
        1000 * $sum / $count, 1000 * $worst, $count);
    cmp_ok($worst, '<', 0.5, 'nobody waits long beside busy clients');
}

sub gone {
    $t->wait_for(sub { sessions() == 0 }, 10, 'no sessions');
    for my $transport (@all) {
        for my $i (1 .. 20) {
            my $c = $t->client($transport);
            my $one = $c->framed('{"id":1,"method":"server.banner"}');
            $c->send_raw($i % 2 ? $one x 20 : substr $one, 0, $i);
            $i % 3 ? $c->abort : $c->close;
        }
    }
    $t->wait_for(sub { sessions() == 0 }, 10, 'sessions end');
    is(sessions(), 0, 'no session is left');
    is(scalar(my @w = $t->worker_pids), 1, 'the worker lives');
}

sub noise {
    srand 7;
    for my $transport (qw(tcp tls ws)) {
        for (1 .. 30) {
            my $c = $t->client($transport, silent_close => 1);
            my $bytes = join '', map { chr int rand 256 } 1 .. 2000;
            eval { $c->send_raw($bytes) };
            $c->read_raw(0.01);
            $c->close;
        }
    }
    my $c = $t->client('tcp');
    $c->send_raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    like($c->read_text(5), qr/-32700/, 'a browser at the TCP port');
    is($t->client('tcp')->call('server.ping'), undef, 'all is well');
}

# ---- WebSocket ----------------------------------------------------------------

# Status line and head for a handshake with changed lines ('' removes one).
sub upgrade {
    my (%change) = @_;
    my $c = $t->client('ws', no_upgrade => 1);
    my $head = $c->{ws}->handshake;
    for my $name (keys %change) {
        my $line = length $change{$name} ? "$name: $change{$name}\r\n" : '';
        $head =~ s/^\Q$name\E:.*?\r\n/$line/mi
            or $head =~ s/\r\n\z/$line\r\n/;
    }
    $c->send_raw($head);
    my $answer = '';
    while ($answer !~ /\r\n\r\n/) {
        my $more = $c->read_raw(5);
        last if !length $more;
        $answer .= $more;
    }
    return $answer;
}

sub handshake {
    like(upgrade(), qr{^HTTP/1\.1 101 }, 'a plain handshake');
    like(upgrade(Connection => 'keep-alive, UPGRADE'), qr{^HTTP/1\.1 101 },
        'several tokens');
    like(upgrade(Upgrade => 'foo, WebSocket'), qr{^HTTP/1\.1 101 },
        'several protocols');
    like(upgrade(Origin => 'https://anywhere.example'), qr{^HTTP/1\.1 101 },
        'any origin');
    my $answer = upgrade('Sec-WebSocket-Protocol' => 'electrum',
        'Sec-WebSocket-Extensions' => 'permessage-deflate');
    like($answer, qr{^HTTP/1\.1 101 }, 'with protocol and extensions');
    unlike($answer, qr/Sec-WebSocket-(?:Protocol|Extensions)/i,
        'none of them is agreed on');
    for my $version (8, 0, 'x', '') {
        $answer = upgrade('Sec-WebSocket-Version' => $version);
        like($answer, qr{^HTTP/1\.1 426 }, "version '$version'");
        like($answer, qr/^Sec-WebSocket-Version: 13\r$/m, 'names its own');
    }
    like(upgrade(Upgrade => 'h2c'), qr{^HTTP/1\.1 426 }, 'another upgrade');
    like(upgrade(Connection => 'close'), qr{^HTTP/1\.1 426 }, 'no connection');
    for my $key ('', 'short', 'x' x 24, 'AAAAAAAAAAAAAAAAAAAAAAAA') {
        like(upgrade('Sec-WebSocket-Key' => $key), qr{^HTTP/1\.1 400 },
            "key '$key'");
    }
    like(upgrade('Content-Length' => 5), qr{^HTTP/1\.1 400 }, 'a body');
    my $c = $t->client('ws', no_upgrade => 1);
    my $head = $c->{ws}->handshake;
    $c->send_raw($head =~ s/^GET/POST/r);
    like($c->read_raw(5), qr{^HTTP/1\.1 405 }, 'POST');
    $c = $t->client('ws', no_upgrade => 1);
    $c->send_raw($head =~ s{HTTP/1\.1}{HTTP/1.0}r);
    like($c->read_raw(5), qr{^HTTP/1\.1 426 }, 'HTTP/1.0');

    for my $transport (qw(ws wss)) {
        $c = $t->client($transport, no_upgrade => 1);
        $c->send_raw($c->{ws}->handshake . $c->framed(ping(1))
                . $c->framed(ping(2)));
        my $in = '';
        while ($in !~ /"id":\s*2/) {
            my $more = $c->read_raw(5);
            last if !length $more;
            $in .= $more;
        }
        like($in, qr/"id":\s*1.*"id":\s*2/s,
            "$transport: frames right behind the handshake");
    }
}

# Sends raw bytes on a new connection; its close code.
sub code_after {
    my ($bytes, $transport) = @_;
    my $c = $t->client($transport // 'ws');
    $c->send_raw(ref $bytes ? $bytes->($c->{ws}) : $bytes);
    return ended($c) ? $c->{close_code} // 'none' : 'not closed';
}

sub frames {
    my $c = $t->client('ws');
    my $w = $c->{ws};
    $c->send_raw($w->frame('ping', 'hello') . $w->frame('ping', ''));
    $c->call('server.ping');
    is_deeply([map { "$_->{op} $_->{payload}" } @{ $c->{control} }],
        ['10 hello', '10 '], 'pings are answered');
    $c->send_raw($w->frame('pong', 'unasked'));
    is($c->call('server.ping'), undef, 'a pong is ignored');
    $c->send_raw($w->fragments('text', ping(5), 1, 0, 7, 3));
    like($c->read_text(5), qr/"id":\s*5/, 'fragments');
    $c->send_raw($w->frame('binary', ping(6) . "\n"));
    like($c->read_text(5), qr/"id":\s*6/, 'binary, with a newline');
    $c->send_raw($w->frame('text', ''));
    is($c->call('server.ping'), undef, 'an empty message is ignored');

    is(code_after(sub { $_[0]->frame('close', pack 'n', 1000) }), 1000,
        'close is echoed');
    is(code_after(sub { $_[0]->frame('close', pack('n', 3456) . 'why') }),
        3456, 'with its code');
    is(code_after(sub { $_[0]->frame('close', '') }), 1005, 'or none');
    is(code_after(sub { $_[0]->frame('close', 'x') }), 1002, 'a short close');
    for my $transport (qw(ws wss)) {
        is(code_after(sub { $_[0]->frame('text', '{}', mask => 0) },
                $transport), 1002, "$transport: not masked");
        is(code_after(sub { $_[0]->frame('text', "\xff") }, $transport), 1007,
            "$transport: not UTF-8");
    }
    is(code_after(sub { $_[0]->frame('text', '{}', rsv => 4) }), 1002,
        'a reserved bit');
    is(code_after(sub { $_[0]->frame(3, '{}') }), 1002, 'a reserved opcode');
    is(code_after(sub { $_[0]->frame('text', '{}', length_form => 64) }), 1002,
        'a length that is too long');

    $c = $t->client('ws', silent_close => 1);
    $c->send_raw($c->{ws}->frame('text', ping(1))
            . $c->{ws}->frame('close', pack 'n', 1000));
    like($c->read_text(5), qr/"id":\s*1/, 'answers before a close are sent');
    ok(ended($c), 'then the connection ends');
    is($c->{close_code}, 1000, 'with the code');

    my $start = time;
    $c = $t->client('ws', silent_close => 1);
    $c->send_raw($c->{ws}->frame('text', '{}', mask => 0));
    ok(ended($c, 6), 'a client that does not answer a close');
    cmp_ok(time - $start, '<', 4 + ElectrumX::Test::slowness(),
        'is not waited for long');
}

# ---- time and memory ----------------------------------------------------------

sub idle_memory {
    my $n = 300;
    my %limit = (tcp => 5, ws => 14);
    $t->wait_for(sub { sessions() == 0 }, 10, 'no sessions');
    for my $transport (sort keys %limit) {
        my @c = map { $t->client($transport) } 1 .. $n;
        $_->call('server.ping') for @c;
        my $with = memory();
        my @more = map { $t->client($transport) } 1 .. $n;
        $_->call('server.ping') for @more;
        my $each = (memory() - $with) / $n;
        diag(sprintf '%s: %.1f KB for an idle session', $transport, $each);
        cmp_ok($each, '<', $asan ? 60 : $limit{$transport} * 1.3,
            "$transport: an idle session costs little");
        $_->close for @c, @more;
        $t->wait_for(sub { sessions() == 0 }, 10, 'no sessions');
    }
}

sub reload {
    my @c = map { $t->client($all[$_ % 4]) } 0 .. 39;
    $_->call('server.ping') for @c;
    my ($old) = $t->worker_pids;
    $t->reload_nginx;
    my $start = time;
    my (@ended, %codes, $asked);
    my %open = map { $_ => $c[$_] } 0 .. $#c;
    while (%open && time - $start < 12) {
        for my $i (sort keys %open) {
            my $c = $open{$i};
            $c->{silent_close} = 0;
            if (eval { $c->call('server.ping'); 1 }) {
                $asked++;
                next;
            }
            push @ended, time - $start;
            $codes{ $c->{close_code} // 'none' }++ if $c->{ws};
            delete $open{$i};
        }
        sleep(0.05);
    }
    is(scalar keys %open, 0, 'all old sessions end');
    cmp_ok($ended[-1], '<', 6 + ElectrumX::Test::slowness(),
        'within some seconds');
    my $spread = grep { $_ > 0.5 && $_ < 4.5 } @ended;
    cmp_ok($spread, '>', 15, 'not all at once');
    cmp_ok($asked, '>', 60, 'they are served meanwhile');
    is_deeply([keys %codes], [1001], 'WebSocket clients are told');
    $t->wait_for(sub { !grep { $_ == $old } $t->worker_pids }, 10,
        'the old worker ends');
    ok(1, 'the old worker ends');
    is($t->client($_)->call('server.ping'), undef, "$_: the new one serves")
        for @all;
}

sub idle_timeout {
    my %c = map { $_ => $t->client($_) } @all;
    my %busy = map { $_ => $t->client($_) } @all;
    my $pinging = $t->client('ws');
    my $partial = $t->client('tcp');
    my $start = time;
    while (time - $start < 7) {
        $_->call('server.ping') for values %busy;
        $pinging->send_raw($pinging->{ws}->frame('ping', ''));
        eval { $partial->send_raw('x') };
        sleep(0.3);
    }
    for my $transport (@all) {
        ok(ended($c{$transport}, 5), "$transport: closed after a while");
        is($busy{$transport}->call('server.ping'), undef,
            "$transport: not if there are requests");
    }
    is($c{ws}{close_code}, 1001, 'a WebSocket client is told');
    is($pinging->call('server.ping'), undef, 'WebSocket pings keep it open');
    ok(ended($partial, 5), 'parts of a request do not');
}

sub send_timeout {
    my $logged = sub {
        my $n = () = $t->read_file('nginx-error.log')
            =~ /client does not read/g;
        return $n;
    };
    $t->wait_for(sub { sessions() == 0 }, 10, 'no sessions');
    for my $transport (@all) {
        my $before = $logged->();
        my $c = $t->client($transport, rcvbuf => 65536);
        stuff($c, $c->framed($BANNER_REQUEST) x 3000);
        $t->wait_for(sub { $logged->() > $before && sessions() == 0 }, 10,
            'the session ends');
        ok(1, "$transport: a client that does not read is closed");
        $c->close;
    }
    is($logged->(), 4, 'and logged');
}

# Pipelined requests that are not read fill the buffers; one more, and the
# answer to the upgrade has to wait.  Requests of a length that keeps nginx's
# own parser at aligned addresses.
sub blocked_upgrade {
    my $get = "GET /?" . 'x' x 20 . " HTTP/1.1\r\nHost: x\r\n\r\n";
    my %o = (no_upgrade => 1, rcvbuf => 20000, timeout => 20,
        path => '/large');
    for my $transport (qw(ws wss)) {
        my $served = sub { () = $t->read_file('nginx-access.log') =~ /\n/g };
        my $before = $served->();
        my $c = $t->client($transport, %o);
        syswrite $c->{sock}, $get x 1200;
        sleep(0.3);
        my $full = $served->() - $before;
        $c->abort;
        diag("$transport: $full answers fill the buffers");
        for my $n (map { $full + $_ } -2 .. 3) {
            $c = $t->client($transport, %o);
            $c->send_raw($get x $n . $c->{ws}->handshake . $c->framed(ping(8)));
            sleep(0.2);
            my $in = '';
            while ($in !~ /"id":\s*8/) {
                my $more = $c->read_raw(5);
                last if !length $more;
                $in .= $more;
            }
            is(join('', $in =~ m{^HTTP/1\.1 (\d+)}mg), '426' x $n . '101',
                "$transport: an upgrade behind $n answers");
            like($in, qr/"id":\s*8/, "$transport: is done");
        }
    }
}

sub shutdown_timeout {
    my @c = map { $t->client($all[$_ % 4]) } 0 .. 19;
    $_->call('server.ping') for @c;
    my ($old) = $t->worker_pids;
    $t->reload_nginx;
    my $start = time;
    ended($_, 5) for @c;
    cmp_ok(time - $start, '<', 2 + ElectrumX::Test::slowness(), 'ends the sessions');
    $t->wait_for(sub { !grep { $_ == $old } $t->worker_pids }, 10,
        'the old worker ends');
    ok(1, 'and the worker');
}

sub proxy_protocol {
    my $c = $t->client('tcp',
        proxy_header => "PROXY TCP4 192.0.2.7 192.0.2.1 1234 50001\r\n");
    is($c->call('server.ping'), undef, 'with a header');
    $c = $t->client('tcp',
        proxy_header => "PROXY TCP4 192.0.2.7 192.0.2.1 1234 50001\r\n"
            . ping(77) . "\n");
    like($c->read_text(5), qr/"id":\s*77/, 'and a request right behind it');
}
