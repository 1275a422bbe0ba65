#!/usr/bin/perl

# What goes wrong at the start, and what the operator sees in the log and in
# status.json; what a wallet sees meanwhile; and that it is served, on the
# connection it has, from the moment the index has caught up.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use File::Copy ();
use File::Temp ();
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(sleep time);

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $HEADERS = 'blockchain.headers.subscribe';
my $mounted;
my $count = 0;
my $s;    # made by the first part

my $t_node = $t->port('node');
subtest 'no node, then a node that starts, then a real one' => \&node_comes;
subtest 'syncing: errors that say so, then served' => \&while_syncing;
subtest 'wrong password' => \&wrong_password;
subtest 'no cookie file' => \&no_cookie;
subtest 'wrong network' => \&wrong_network;
subtest 'directory of another network' => \&other_network;
subtest 'directory of another format version' => \&other_version;
subtest 'a second indexer' => \&second_indexer;
subtest 'no permission' => \&no_permission;
subtest 'disk full, then space again' => \&disk_full;
subtest 'mistakes in the configuration' => \&configuration;
subtest 'the node goes away and comes back' => \&node_restarts;
$t->done;

END { system 'umount', $mounted if $mounted }

# ---- helpers ----------------------------------------------------------------

# The indexer of one part, with its own log and data directory.
sub indexer {
    my (%o) = @_;
    $count++;
    my $name = $o{_name} = "indexer-$count";
    $o{data_dir} //= $t->path("data-$count");
    my %conf = ($s ? $s->{node}->indexer_conf : (), live_window => 10, %o);
    $t->start_indexer(%conf);
    return { name => $name, log => "$name.log", data => $o{data_dir},
        proc => $t->proc($name) };
}

sub says {
    my ($x, $re, $name) = @_;
    my $found = eval {
        $t->wait_for(sub { ($t->read_file($x->{log}) // '') =~ $re }, 10,
            $name);
    };
    ok($found, $name) or diag $t->tail($x->{log});
    my ($line) = ($t->read_file($x->{log}) // '') =~ /^(.*$re.*)$/m;
    note $line // '';
}

sub ends {
    my ($x, $name) = @_;
    $t->allow_exit($x->{name});
    my $status = $x->{proc}->wait(10);
    ok(defined $status && $status >> 8, "$name: ends with an error status")
        or diag 'status ' . ($status // 'none, it runs on');
    $x->{proc}->stop;
}

sub state_of {
    my ($x) = @_;
    my $text = $t->read_file("$x->{data}/status.json") // return {};
    return eval { JSON::PP::decode_json($text) } || {};
}

sub becomes_ready {
    my ($x, $seconds) = @_;
    return $t->wait_for(sub { (state_of($x)->{state} // '') eq 'ready' },
        $seconds // 20, "$x->{name} ready");
}

# ---- parts ------------------------------------------------------------------

sub node_comes {
    my $x = indexer(daemon_url => "http://u:secretword\@127.0.0.1:$t_node");
    says($x, qr/does not answer|not reachable|refused/i, 'says: no node');
    is(state_of($x)->{state}, 'connecting', 'state connecting');
    $t->{data} = $x->{data};
    $t->start_nginx(workers => 2);
    my %c = map { $_ => $t->client($_) } qw(tcp tls ws wss);
    for my $name (sort keys %c) {
        my $e = eval { $c{$name}->error_of($HEADERS) } || {};
        is($e->{code}, -32603, "$name: error while there is no index");
        like($e->{message}, qr/connecting|not reachable|node/i,
            "$name: says why");
    }
    my $pid = fake_node();
    says($x, qr/still starting.*Verifying blocks/i, 'says: still starting');
    kill 'KILL', $pid;
    waitpid $pid, 0;
    $s = ElectrumX::Scenario->new($t, seed => 540, free_only => 1,
        node => { user => 'u', password => 'secretword' });
    becomes_ready($x);
    for my $name (sort keys %c) {
        my $tip = $t->wait_for(sub { $c{$name}->request($HEADERS)->{result} },
            5, "$name served");
        is($tip->{height}, 0, "$name: served on the same connection");
    }
    unlike($t->read_file($x->{log}), qr/secretword/,
        'the log has no password');
    is($x->{proc}->stop, 0, 'status 0');
    $t->stop_nginx;
}

# Answers each call as a node that verifies its blocks.
sub fake_node {
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 10,
        LocalPort => $t_node, ReuseAddr => 1) or POSIX::_exit(1);
    my $body = '{"result":null,"error":{"code":-28,"message":'
        . '"Verifying blocks..."},"id":1}';
    while (my $c = $l->accept) {
        sysread $c, my $in, 65536;
        print {$c} "HTTP/1.1 500 Internal Server Error\r\n",
            "Content-Type: application/json\r\nConnection: close\r\n",
            'Content-Length: ' . length($body) . "\r\n\r\n$body";
        close $c;
    }
    POSIX::_exit(0);
}

# A wallet that asks all the time from before the first block to the end.
sub while_syncing {
    $s->base;
    $s->grow(30);
    $t->{data} = $t->path('data-sync');
    $t->start_nginx;
    my $c = $t->client('tcp');
    my $e = $c->error_of($HEADERS);
    is($e->{code}, -32603, 'no index at all: error');
    note $e->{message};
    my $x = indexer(data_dir => $t->data, $s->{node}->slow_conf(40));
    my (%said, $tip);
    my $end = time + 30;
    while (!$tip && time < $end) {
        my $a = $c->request($HEADERS);
        $tip = $a->{result} and last;
        $said{"$a->{error}{code} $a->{error}{message}"}++;
        sleep 0.01;
    }
    is($tip->{height}, $s->{node}->height, 'served when it has caught up');
    note $_ for sort keys %said;
    my @other = grep { !/^-32603 / } keys %said;
    is("@other", '', 'errors are -32603');
    my @dumb = grep { !/syncing|connecting|loading|not running/i } keys %said;
    is("@dumb", '', 'each names the state');
    ok(scalar(grep {/sync.*\d/i} keys %said), 'one tells how far it is');
    is($x->{proc}->stop, 0, 'status 0');
    $t->stop_nginx;
}

sub wrong_password {
    my $x = indexer(daemon_url => "http://u:wrongword\@127.0.0.1:$t_node");
    says($x, qr/password/i, 'says: wrong password');
    unlike($t->read_file($x->{log}), qr/wrongword/, 'does not show it');
    is(state_of($x)->{state}, 'connecting', 'state');
    like(state_of($x)->{message}, qr/password/, 'status.json says so too');
    is($x->{proc}->stop, 0, 'ends when told to');
}

sub no_cookie {
    my $x = indexer(daemon_url => "http://127.0.0.1:$t_node",
        daemon_cookie => $t->path('no-such-cookie'));
    says($x, qr/cookie/i, 'names the cookie');
    like(state_of($x)->{message}, qr/has none \(No such file/,
        'status.json says that there is none');
    unlike(state_of($x)->{message}, qr/refuses/,
        'nobody says that a password was refused');
    $t->allow_exit($x->{name});
    $x->{proc}->stop;
}

sub wrong_network {
    my $x = indexer(network => 'testnet');
    says($x, qr/wrong network/i, 'says: wrong network');
    says($x, qr/testnet/, 'names what was configured');
    ends($x, 'wrong network');
}

# A finished data directory with something changed in FORMAT.
sub changed_format {
    my ($from, $to) = @_;
    my $x = indexer();
    becomes_ready($x);
    $x->{proc}->stop;
    my $text = $t->read_file("$x->{data}/FORMAT");
    ok($text =~ s/$from/$to/, "FORMAT has $from");
    $t->write_file("$x->{data}/FORMAT", $text);
    return indexer(data_dir => $x->{data});
}

sub other_network {
    my $x = changed_format('network regtest', 'network signet');
    says($x, qr/signet.*regtest/, 'names both networks');
    ends($x, 'other network');
}

sub other_version {
    my $x = changed_format('electrumx-index 1', 'electrumx-index 77');
    says($x, qr/version 77\b.*\b1\b/, 'names both versions');
    ends($x, 'other version');
}

sub second_indexer {
    my $one = indexer();
    becomes_ready($one);
    my $two = indexer(data_dir => $one->{data});
    my $pid = $one->{proc}->pid;
    says($two, qr/in use.*\b$pid\b/, 'says: in use, by which process');
    ends($two, 'second indexer');
    ok($one->{proc}->running, 'the first one goes on');
    is(state_of($one)->{state}, 'ready', 'and is ready');
    is($one->{proc}->stop, 0, 'status 0');
}

# Root may write everywhere, so it becomes nobody first.
sub no_permission {
    my $dir = File::Temp->newdir('electrumx-XXXXXX', TMPDIR => 1);
    my $program = "$dir/electrumx-indexer";
    File::Copy::copy($t->build . '/electrumx-indexer', $program) or die $!;
    chmod 0755, $program, "$dir";
    mkdir "$dir/data", 0500;
    chmod 0755, $t->dir;
    my $conf = "$dir/indexer.conf";
    my $text = $t->read_file($t->indexer_conf('denied',
        $s->{node}->indexer_conf, data_dir => "$dir/data"));
    $t->write_file($conf, $text);
    my $p = $t->start('denied', cmd => [$program, '-c', $conf],
        $> == 0 ? (user => 'nobody') : ());
    my $x = { name => 'denied', log => 'denied.log', proc => $p };
    says($x, qr/\Q$dir\E\/data.*permission denied/i,
        'names directory and reason');
    ends($x, 'no permission');
}

# A small tmpfs where that is allowed, else a limit on the size of files.
sub disk_full {
    my $dir = $t->path('small');
    mkdir $dir;
    if ($> != 0 || system('mount', '-t', 'tmpfs', '-o', 'size=48m', 'tmpfs',
            $dir) != 0)
    {
        return file_limit();
    }
    $mounted = $dir;
    my $n = 47;
    $t->write_file("$dir/filler", "x" x ($n << 20));
    my $x = indexer(data_dir => "$dir/data");
    says($x, qr/no space left/i, 'says: disk full');
    ok($x->{proc}->running, 'it goes on trying');
    isnt(state_of($x)->{state} // '', 'ready', 'not ready');
    unlink "$dir/filler";
    ok(eval { becomes_ready($x, 30) }, 'ready when there is space again')
        or diag $t->tail($x->{log});
    is($x->{proc}->stop, 0, 'status 0');
    system 'umount', $dir;
    undef $mounted;
}

sub file_limit {
    my $x = indexer(_fsize => 100_000);
    says($x, qr/space|too large|size limit/i, 'says: cannot write');
    ok($x->{proc}->running, 'it goes on trying');
    $x->{proc}->stop;
}

sub configuration {
    my %wrong = (
        'no_such_setting = 1'     => qr/no_such_setting/,
        'network = moon'          => qr/moon|network/,
        'live_window = lots'      => qr/live_window/,
        'daemon_url = ftp://x'    => qr/daemon_url/,
    );
    for my $line (sort keys %wrong) {
        $count++;
        my $conf = $t->write_file("wrong-$count.conf",
            "network = regtest\ndata_dir = " . $t->path("data-$count")
            . "\n$line\n");
        my $p = $t->start("wrong-$count", cmd => [
            $t->build . '/electrumx-indexer', '-c', $conf]);
        my $x = { name => "wrong-$count", log => "wrong-$count.log",
            proc => $p };
        says($x, $wrong{$line}, "'$line' is named");
        ends($x, $line);
    }
}

sub node_restarts {
    my $x = indexer();
    $t->{data} = $x->{data};
    becomes_ready($x);
    $t->start_nginx;
    my $c = $t->client('tcp');
    is($c->call($HEADERS)->{height}, $s->{node}->height, 'served');
    $s->{node}->stop;
    says($x, qr/does not answer|not reachable|refused/i, 'says: no node');
    is($c->call($HEADERS)->{height}, state_of($x)->{height},
        'served from what is there');
    my $e = $c->error_of('blockchain.transaction.broadcast', '00' x 60);
    ok($e, 'broadcast: an error');
    note $e->{message};
    $s->{node}->restart;
    $s->{node}->generate(1);
    ok($t->wait_for(sub { $c->call($HEADERS)->{height}
            == $s->{node}->height }, 20, 'follows'), 'follows again');
    is($x->{proc}->stop, 0, 'status 0');
}
