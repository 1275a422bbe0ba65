#!/usr/bin/perl

# electrumx-ctl: what it prints and how it exits, on directories as an indexer
# leaves them; the indexer itself is played by a listening socket.

use lib 't/lib';
use ElectrumX::Test;
use IO::Socket::UNIX;
use JSON::PP ();
use POSIX ();
use Socket qw(SOCK_STREAM);
use Time::HiRes qw(time sleep);

my $t = ElectrumX::Test->new(needs => ['ctl']);
my $data = $t->path('data');
mkdir $data or die "$data: $!";

# (exit code, stdout, stderr)
sub ctl {
    my ($out, $err) = ($t->path('out'), $t->path('err'));
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>', $out or die $!;
        open STDERR, '>', $err or die $!;
        exec $t->build . '/electrumx-ctl', @_ or die $!;
    }
    waitpid $pid, 0;
    return ($? >> 8, $t->read_file('out'), $t->read_file('err'));
}

sub indexer {
    unlink "$data/socket";
    return IO::Socket::UNIX->new(Type => SOCK_STREAM, Listen => 9,
        Local => "$data/socket") || die "socket: $!";
}

sub status {
    $t->write_file('data/status.json', JSON::PP::encode_json({@_}) . "\n");
}

subtest 'wrong usage' => sub {
    for my $args ([], ['-d'], ['-d', $data, 'nonsense'], ['--nothing'],
        ['-d', $data, 'status', 'more'],
        ['-d', $data, 'wait', '--timeout', 'x']) {
        my ($code, $out, $err) = ctl(@$args);
        is($code, 2, "@$args: exit code");
        is($out, '', 'nothing on stdout');
        isnt($err, '', 'says why');
    }
    my ($code, $out) = ctl('--help');
    is($code, 0, '--help');
    like($out, qr/^usage: electrumx-ctl/, 'prints how');
};

subtest 'no indexer' => sub {
    my ($code, $out, $err) = ctl('-d', $data);
    is($code, 1, 'nothing there');
    like($err, qr{cannot read \S+/status\.json: No such file}, 'says so');
    status(state => 'ready', height => 5);
    ($code, $out, $err) = ctl('-d', $data, 'status');
    is($code, 1, 'left by a killed indexer');
    like($err, qr{no indexer runs on \S+ \(last seen as "ready"\)}, 'says so');
    my $listener = indexer();
    close $listener;
    ($code, $out, $err) = ctl('-d', $data);
    is($code, 1, 'its socket, too');
    like($err, qr/no indexer runs/, 'says so');
    $listener = indexer();
    $t->write_file('data/status.json', '["not a status"]');
    ($code, $out, $err) = ctl('-d', $data);
    is($code, 1, 'not a status');
    like($err, qr/is not a status/, 'says so');
};

subtest 'status' => sub {
    my $listener = indexer();
    status(state => 'ready', height => 7, message => '', time => 0);
    my ($code, $out, $err) = ctl('-d', $data);
    is($code, 0, 'ready');
    is($err, '', 'no error');
    like($out, qr/^state +ready$/m, 'state');
    like($out, qr/^height +7$/m, 'height');
    like($out, qr/^time +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/m, 'time');
    unlike($out, qr/^message/m, 'an empty message is left out');
    status(state => 'syncing', height => 7, message => 'block 7 of 9');
    ($code, $out) = ctl('--data-dir', $data, 'status');
    is($code, 1, 'syncing');
    like($out, qr/^message +block 7 of 9$/m, 'message');
    status(state => 'syncing', height => 7, phase => 'reading blocks',
        progress => 0.123, block_time => 1398902400, eta_s => 12000,
        tx_per_s => 5, mb_per_s => 1.5);
    ($code, $out) = ctl('-d', $data);
    like($out, qr/^phase +reading blocks$/m, 'phase');
    like($out, qr/^progress +12\.3 %$/m, 'progress');
    like($out, qr/^block_time +2014-0[45]-\d\d \d\d:\d\d:\d\d$/m, 'date');
    like($out, qr/^tx_per_s +5$/m, 'transactions a second');
    like($out, qr/^mb_per_s +1\.5$/m, 'MB a second');
    like($out, qr/^eta +3 h 20 min$/m, 'time left');
    status(state => 'syncing', height => 7, message => 'block 7 of 9');
    ($code, $out) = ctl('-d', $data, '--json');
    is($code, 1, '--json: exit code');
    is_deeply(JSON::PP::decode_json($out), { state => 'syncing', height => 7,
        message => 'block 7 of 9' }, '--json');
};

subtest 'wait' => sub {
    my $listener = indexer();
    status(state => 'loading');
    my $begin = time;
    my ($code, $out) = ctl('-d', $data, 'wait', '--timeout', '0.3');
    is($code, 1, 'time is over');
    cmp_ok(time - $begin, '>=', 0.3, 'waited');
    like($out, qr/^state +loading$/m, 'prints what it is');
    unlink "$data/status.json";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        sleep 0.4;
        status(state => 'ready');
        POSIX::_exit(0);
    }
    ($code, $out) = ctl('-d', $data, 'wait', '--timeout', '20');
    is($code, 0, 'ready in time');
    like($out, qr/^state +ready$/m, 'prints it');
    waitpid $pid, 0;
};

$t->done;
