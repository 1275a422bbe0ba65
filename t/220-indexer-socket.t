#!/usr/bin/perl

# A worker's end of the indexer's socket, against a scripted indexer: hello,
# state, calls and their answers, broken frames, an indexer that goes and comes.

use lib 't/lib';
use ElectrumX::Test;
use IO::Select;
use IO::Socket::UNIX;
use Time::HiRes qw(sleep time);

my $t = ElectrumX::Test->new(needs => [qw(nginx openssl tls)]);
mkdir $t->data;
my $path = $t->data . '/socket';
my ($server, $peer, $in);

$t->start_nginx(electrumx => 'max_calls 100;');
subtest 'no indexer' => \&no_indexer;
subtest 'hello' => \&hello;
subtest 'state' => \&state;
subtest 'calls' => \&calls;
subtest 'frames in pieces' => \&pieces;
subtest 'large frames' => \&large;
subtest 'clients that go away' => \&client_gone;
subtest 'the indexer goes and comes' => \&comes_again;
subtest 'the indexer comes and is asked at once' => \&comes_and_is_asked;
subtest 'broken frames' => \&broken;
subtest 'a deep directory' => \&deep;
subtest 'reload' => \&reload;
$t->done;

# ---- the scripted indexer ------------------------------------------------------

sub listen_at {
    my ($at) = @_;
    unlink $at;
    $server = IO::Socket::UNIX->new(Local => $at, Listen => 16,
        Type => SOCK_STREAM) or die "$at: $!";
}

# The next worker that connects; reads its hello.
sub accept_worker {
    IO::Select->new($server)->can_read(5) or die "no worker connects\n";
    $peer = $server->accept or die "accept: $!";
    $in = '';
    my ($type, $payload) = frame_in();
    return ($type, unpack 'VV', $payload);
}

# The next frame: type and payload; nothing at the end or after some seconds.
sub frame_in {
    my ($seconds) = @_;
    my $end = time + ($seconds // 5);
    while (length $in < 4 || length $in < 4 + unpack 'V', $in) {
        my $left = $end - time;
        return if $left <= 0 || !IO::Select->new($peer)->can_read($left);
        return if !sysread $peer, $in, 1 << 20, length $in;
    }
    my $frame = substr $in, 0, 4 + unpack('V', $in), '';
    return (substr($frame, 4, 1), substr $frame, 5);
}

sub frame {
    my ($type, $payload) = @_;
    return pack('V', 1 + length $payload) . $type . $payload;
}

sub out {
    my ($bytes) = @_;
    while (length $bytes) {
        my $n = syswrite $peer, $bytes;
        die "write: $!" if !defined $n;
        substr $bytes, 0, $n, '';
    }
}

# The next call: id (as bytes), name, parameters.
sub next_call {
    my ($type, $payload) = frame_in();
    die "no call\n" if !defined $type || $type ne 'C';
    my ($id, $name, $params) = unpack 'a8 C/a a*', $payload;
    return ($id, $name, $params);
}

sub reply {
    my ($id, $ok, $json) = @_;
    return frame('R', $id . pack('C', $ok ? 0 : 1) . $json);
}

sub status { return ElectrumX::Client->decode(($t->http_get('/status'))[1]) }

sub broadcast {
    return $_[0]->send_request('blockchain.transaction.broadcast', [$_[1]]);
}

# A client whose broadcast is answered: the connection is in order.
sub works {
    my ($name) = @_;
    my $c = $t->client('tcp');
    my $id = broadcast($c, 'aabb');
    my ($call) = next_call();
    out(reply($call, 1, '"fine"'));
    is($c->answer($id)->{result}, 'fine', $name);
}

# ---- tests ---------------------------------------------------------------------

sub no_indexer {
    is(status()->{indexer}, undef, 'no state');
    my $c = $t->client('tcp');
    my $start = time;
    my $error = $c->error_of('blockchain.transaction.broadcast', 'aabb');
    ok($error, 'a call ends with an error');
    like($error->{message}, qr/indexer is not reachable/, 'that says why');
    cmp_ok(time - $start, '<', 2, 'at once');
    my @answers = $c->pipeline(
        map { ['blockchain.transaction.broadcast', 'aabb'] } 1 .. 50);
    is(scalar(grep { $_->{error} } @answers), 50, 'so do many');
}

sub hello {
    listen_at($path);
    my ($type, $version, $pid) = accept_worker();
    is($type, 'H', 'hello comes first');
    is($version, 1, 'version of the protocol');
    is($pid, ($t->worker_pids)[0], 'pid of the worker');
    is(scalar frame_in(0.3), undef, 'nothing more');
}

sub state {
    out(frame('S', '{"state":"syncing","height":7}'));
    $t->wait_for(sub { status()->{indexer} }, 5, 'the state');
    is_deeply(status()->{indexer}, { state => 'syncing', height => 7 },
        'the state is shown');
    my $c = $t->client('tcp');
    my $why = sub { $c->error_of('server.features')->{message} };
    is($why->(), 'the index is not ready: syncing, block 7',
        'wallets are told how far it is');
    out(frame('S', '{"state":"loading","height":7,"target":9}'));
    $t->wait_for(sub { status()->{indexer}{target} }, 5, 'the next');
    is($why->(), 'the index is not ready: loading, block 7 of 9',
        'and how far it is to go');
    out(frame('S', '{"state":"ready","height":8}')
            . frame('B', pack 'Q<Q<', 1, 2) x 100);
    $t->wait_for(sub { status()->{indexer}{height} == 8 }, 5, 'the next');
    is(status()->{indexer}{state}, 'ready', 'the last one counts');
}

sub calls {
    my $c = $t->client('tcp');
    my $id = broadcast($c, '0102');
    my ($call, $name, $params) = next_call();
    is($name, 'broadcast', 'name of the call');
    is_deeply(ElectrumX::Client->decode($params), ['0102'], 'parameters');
    is($c->call('server.ping'), undef, 'other requests go on');
    out(reply($call, 1, '"txid"'));
    is($c->answer($id)->{result}, 'txid', 'the result');
    $id = broadcast($c, '0304');
    ($call) = next_call();
    out(reply($call, 0, '{"code":1,"message":"bad-txns"}'));
    like($c->answer($id)->{error}{message}, qr/bad-txns/, 'an error');

    my @id = map { broadcast($c, sprintf '%04x', $_) } 1 .. 20;
    my %call = map {
        my ($no, undef, $p) = next_call();
        (ElectrumX::Client->decode($p)->[0] => $no)
    } 1 .. 20;
    is(scalar keys %call, 20, 'many at the same time');
    out(join '', map { reply($call{$_}, 1, qq("r$_")) } reverse sort keys %call);
    is_deeply([map { $c->answer($_)->{result} } @id],
        [map { sprintf 'r%04x', $_ } 1 .. 20], 'answered in any order');

    my ($first) = values %call;
    out(reply($first, 1, '"again"') . reply(pack('Q<', 0), 1, '"none"')
            . reply("\xff" x 8, 1, '"none"'));
    works('answers to no call are ignored');
    is_deeply([$c->notifications], [], 'the client gets none of them');
}

sub pieces {
    my $c = $t->client('ws');
    my $id = broadcast($c, '05');
    my ($call) = next_call();
    my $bytes = frame('S', '{"height":9}') . reply($call, 1, '"slow"')
        . frame('B', "\0" x 16) . frame('S', '{"height":10}');
    for my $byte (split //, $bytes) {
        out($byte);
        sleep(0.001);
    }
    is($c->answer($id)->{result}, 'slow', 'byte by byte');
    $t->wait_for(sub { status()->{indexer}{height} == 10 }, 5, 'the last');
    my @id = map { broadcast($c, '06') } 1 .. 50;
    my @call = map { (next_call())[0] } 1 .. 50;
    out(join '', map { reply($_, 1, '"many"') } @call);
    is(scalar(grep { $c->answer($_)->{result} eq 'many' } @id), 50,
        'many in one write');
}

sub large {
    my $c = $t->client('tcp', timeout => 20);
    my $hex = 'ab' x 450_000;
    my $id = broadcast($c, $hex);
    my ($call, undef, $params) = next_call();
    is(ElectrumX::Client->decode($params)->[0], $hex, 'a large call');
    out(reply($call, 1, '"' . 'x' x 5_000_000 . '"'));
    is(length $c->answer($id)->{result}, 5_000_000, 'a large answer');
    works('goes on');
}

sub client_gone {
    my @c = map { $t->client((qw(tcp tls ws wss))[$_ % 4]) } 0 .. 19;
    broadcast($_, '07') for @c;
    my @call = map { (next_call())[0] } @c;
    $_->abort for @c;
    $t->wait_for(sub { status()->{worker}{sessions} == 0 }, 5, 'they are gone');
    out(join '', map { reply($_, 1, '"late"') } @call);
    works('answers to clients that are gone');
    my $c = $t->client('tcp');
    my $id = broadcast($c, '08');
    my ($call) = next_call();
    shutdown $c->{sock}, 1;
    sleep(0.3);
    out(reply($call, 1, '"waited for"'));
    is($c->answer($id)->{result}, 'waited for',
        'a half-closed connection waits for its answer');
    ok($c->closed(5), 'and is closed then');
}

sub comes_again {
    my $c = $t->client('tcp');
    my @id = map { broadcast($c, '09') } 1 .. 10;
    next_call() for @id;
    close $peer;
    my @e = grep { ($_->{error}{message} // '') =~ /not reachable/ }
        map { $c->answer($_) } @id;
    is(scalar @e, 10, 'calls under way end with an error');
    is((accept_worker())[0], 'H', 'it connects again');
    is(status()->{indexer}, undef, 'the old state is forgotten');
    works('and works');
    close $server;
    unlink $path;
    close $peer;
    sleep(2.5);
    is($c->call('server.ping'), undef, 'without it the rest goes on');
    listen_at($path);
    is((accept_worker())[0], 'H', 'it comes back');
    works('and works');
    my $log = $t->read_file('nginx-error.log');
    my $n = () = $log =~ /no indexer at/g;
    cmp_ok($n, '<', 6, 'a missing indexer is logged once, not each second');
}

# Within the second between two attempts of its own.
sub comes_and_is_asked {
    my $c = $t->client('tcp');
    for my $n (1 .. 5) {
        close $server;
        unlink $path;
        close $peer;
        $t->wait_for(sub { ($c->error_of('blockchain.transaction.broadcast',
            '09')->{message} // '') =~ /not reachable/ }, 5, 'it is gone');
        listen_at($path);
        my $id = broadcast($c, '0a');
        is((accept_worker())[0], 'H', "$n: a call connects");
        my ($call) = next_call();
        out(reply($call, 1, '"there"'));
        is($c->answer($id)->{result}, 'there', 'and is answered');
    }
}

sub broken {
    my %bad = (
        'a frame of no length' => pack('V', 0) . 'x',
        'a frame that is too long' => pack('V', 17 << 20) . 'S{}',
        'the longest length' => "\xff\xff\xff\xff" . 'S',
        'an unknown type' => frame('x', 'y'),
        'a short bell' => frame('B', "\0" x 15),
        'a short answer' => frame('R', "\0" x 8),
        'an answer of neither kind' => frame('R', "\0" x 8 . "\2{}"),
        'a state that is no object' => frame('S', '[]'),
        'an empty state' => frame('S', ''),
    );
    for my $name (sort keys %bad) {
        out($bad{$name});
        is(scalar frame_in(3), undef, "$name: the connection ends");
        close $peer;
        is((accept_worker())[0], 'H', "$name: a new one");
    }
    srand 5;
    for (1 .. 5) {
        eval { out(join '', map { chr int rand 256 } 1 .. 300) };
        close $peer;
        accept_worker();
    }
    works('after random bytes');
    is(scalar(my @w = $t->worker_pids), 1, 'the worker lives');
    my $log = $t->read_file('nginx-error.log');
    like($log, qr/the indexer sent a malformed frame/, 'it is logged');
    like($log, qr/the indexer sent a frame of 4294967295 bytes/, 'in words');
}

# Longer than the address of a unix socket.
sub deep {
    $t->stop_nginx;
    my $dir = $t->path('d' x 60);
    mkdir $dir;
    $dir .= '/' . 'e' x 60;
    mkdir $dir;
    my $old = Cwd::getcwd();
    chdir $dir or die "$dir: $!";
    listen_at('socket');
    chdir $old;
    $t->start_nginx(data => $dir);
    is((accept_worker())[0], 'H', 'connects');
    works('works');
}

sub reload {
    my $first = $peer;
    my ($old) = $t->worker_pids;
    $t->reload_nginx;
    is((accept_worker())[0], 'H', 'the new worker connects');
    $t->wait_for(sub { !grep { $_ == $old } $t->worker_pids }, 8,
        'the old worker ends');
    is(sysread($first, my $buf, 1), 0, 'the old worker has closed its end');
    works('the new one works');
}
