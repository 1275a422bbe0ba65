#!/usr/bin/perl

# electrumx_strict: each method in its versions only, as ElectrumX 2.0 has
# them; server.version first; notifications; arguments.  Without it all methods
# are there in all versions.  And the pings that clients of 1.7 are sent.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use FindBin ();
use JSON::PP ();

my $SH = 'ab' x 32;
my $JSON = JSON::PP->new->allow_nonref->canonical;

# Method, first version, version without it; arguments that are well-formed.
my @METHODS = (
    ['blockchain.block.header', 0, 99, 0],
    ['blockchain.block.headers', 0, 99, 0, 1],
    ['blockchain.estimatefee', 0, 99, 2],
    ['blockchain.headers.subscribe', 0, 99],
    ['blockchain.transaction.broadcast', 0, 99, '00'],
    ['blockchain.transaction.get', 0, 99, $SH],
    ['blockchain.transaction.get_merkle', 0, 99, $SH, 1],
    ['blockchain.transaction.id_from_pos', 0, 99, 1, 0],
    ['mempool.get_fee_histogram', 0, 99],
    ['server.add_peer', 0, 99, {}],
    ['server.banner', 0, 99],
    ['server.donation_address', 0, 99],
    ['server.features', 0, 99],
    ['server.peers.subscribe', 0, 99],
    ['server.ping', 0, 99],
    ['blockchain.scripthash.get_balance', 0, 1.7, $SH],
    ['blockchain.scripthash.get_history', 0, 1.7, $SH],
    ['blockchain.scripthash.get_mempool', 0, 1.7, $SH],
    ['blockchain.scripthash.listunspent', 0, 1.7, $SH],
    ['blockchain.scripthash.subscribe', 0, 1.7, $SH],
    ['blockchain.scripthash.unsubscribe', 1.42, 1.7, $SH],
    ['blockchain.relayfee', 0, 1.6],
    ['blockchain.transaction.broadcast_package', 1.6, 99, ['00']],
    ['mempool.get_info', 1.6, 99],
    ['blockchain.transaction.testmempoolaccept', 1.7, 99, ['00']],
    ['blockchain.outpoint.subscribe', 1.7, 99, $SH, 0, '51'],
    ['blockchain.outpoint.get_status', 1.7, 99, $SH, 0, '51'],
    ['blockchain.outpoint.unsubscribe', 1.7, 99, $SH, 0],
    (map { ["blockchain.scriptpubkey.$_", 1.7, 99, '51'] } qw(get_balance
        get_history get_mempool listunspent subscribe unsubscribe)),
    ['mempool.recent', 1.7, 99],
    # other servers' methods
    (map { [$_, 99, 99] } qw(blockchain.headers.get_tip
        blockchain.headers.unsubscribe)),
    ['blockchain.header.get', 99, 99, 0],
    ['blockchain.block.stats', 99, 99, 1],
    (map { ["blockchain.scripthash.$_", 99, 99, $SH] }
        qw(get_status get_first_use)),
    (map { ["blockchain.address.$_", 99, 99, 'x'] } qw(get_balance get_history
        get_mempool listunspent subscribe unsubscribe get_scripthash
        get_status get_first_use)),
    (map { ["blockchain.transaction.$_", 99, 99, $SH] } qw(get_height
        get_confirmed_blockhash subscribe unsubscribe)),
    ['blockchain.utxo.get_info', 99, 99, $SH, 0],
);
my %VERSION = ('1.4' => 1.4, '1.4.1' => 1.41, '1.4.2' => 1.42,
    '1.5.3' => 1.53, '1.6' => 1.6, '1.6.0' => 1.6, '1.7' => 1.7);

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my $node = $s->{node};
$node->generate(5);
$s->serve(no_nginx => 1);
$t->start_nginx;
subtest 'all methods in all versions' => \&open_to_all;
subtest 'noise' => \&noise;
$t->stop_nginx;
$t->start_nginx(electrumx => 'electrumx_strict on;');
subtest 'methods of each version' => \&by_version;
subtest 'what must come first' => \&first;
subtest 'notifications' => \&notifications;
subtest 'arguments' => \&arguments;
$t->done;

sub error {
    my ($c, @call) = @_;
    my $e = $c->error_of(@call) || {};
    return ($e->{code} // 'none') . ' ' . ($e->{message} // '');
}

sub open_to_all {
    my %source = map { $_ => 1 }
        $t->read_file("$FindBin::Bin/../ngx_electrumx_module/"
            . 'ngx_electrumx_methods.c') =~ /ngx_string\("([\w.]+)"\)/g;
    delete @source{qw(server.version daemon.passthrough)};
    is(join(' ', sort map { $_->[0] } @METHODS), join(' ', sort keys %source),
        'the table here has all methods');
    for my $version (sort keys %VERSION) {
        my $c = $t->client('tcp');
        $c->version($version);
        for my $m (@METHODS) {
            my ($name, undef, undef, @args) = @$m;
            unlike(error($c, $name, @args), qr/unknown method/,
                "$version: $name");
        }
    }
}

sub by_version {
    for my $version (sort keys %VERSION) {
        my $c = $t->client($version eq '1.6' ? 'ws' : 'tcp');
        is($c->version($version)->[1], $version, "$version: negotiated");
        for my $m (@METHODS) {
            my ($name, $since, $until, @args) = @$m;
            my $there = $VERSION{$version} >= $since
                && $VERSION{$version} < $until;
            my $e = error($c, $name, @args);
            if ($there) {
                unlike($e, qr/^-32601 unknown/, "$version: $name is there");
            }
            else {
                is($e, qq(-32601 unknown method "$name"),
                    "$version: $name is not");
            }
        }
    }
}

sub first {
    for (['server.ping'], ['blockchain.headers.subscribe'], ['no.method'],
        ['server.features', 1, 2, 3])
    {
        my $c = $t->client($_->[0] eq 'no.method' ? 'ws' : 'tcp');
        is(error($c, @$_), '1 use server.version to identify client',
            "$_->[0] first");
        ok($c->closed(5), 'closed');
    }
    my $c = $t->client('tcp');
    my @a = $c->pipeline(['server.version', 'x', ['1.4', '1.6']],
        ['server.ping']);
    is($a[0]{result}[1], '1.6', 'then the others, without waiting');
    ok(exists $a[1]{result}, 'answered');
    is(error($c, 'server.version', 'x', '1.4'),
        '1 server.version already sent', 'only once');
    is($c->call('server.ping'), undef, 'and it goes on');
    $c = $t->client('tcp');
    is(error($c, 'server.version', 'x', '1.3'),
        '1 unsupported protocol version: 1.3', 'no common version');
    ok($c->closed(5), 'closed');
    $c = $t->client('tcp');
    my $a = $c->batch(['server.ping'], ['server.version', 'x', '1.4']);
    is($a->[0]{error}{code}, 1, 'in a batch, too');
    ok($c->closed(5), 'closed');
}

sub notifications {
    for my $n ('server.version', 'server.ping') {
        my $c = $t->client('tcp');
        $c->send_text(qq({"jsonrpc":"2.0","method":"$n","params":[]}));
        ok($c->closed(5), "$n first: closed");
    }
    for my $version (qw(1.4 1.7)) {
        my $c = $t->client('tcp');
        $c->version($version);
        $c->send_text(qq({"jsonrpc":"2.0","method":"$_","params":[]}))
            for qw(blockchain.headers.subscribe server.ping no.method);
        is_deeply($c->call('server.ping'),
            $version eq '1.7' ? { data => '' } : undef, 'session goes on');
        $node->generate(1);
        $t->wait_for(sub { $c->call('blockchain.block.headers', 0, 99)
            ->{count} == $node->height + 1 }, 10, 'block');
        is(scalar(grep { $_->{method} ne 'server.ping' } $c->notifications), 0,
            "$version: a notification does not subscribe");
    }
}

sub arguments {
    my $c = $t->client('tcp');
    is($c->call('server.version', 'x', '1.6', 1, 2)->[1], '1.6',
        'server.version takes any number');
    for (['server.ping', 1, '', 3], ['server.banner', 0],
        ['blockchain.scripthash.get_history', $SH, 0],
        ['blockchain.block.header', 1, 0, 0])
    {
        like(error($c, @$_), qr/^-32602 too many arguments/, "$_->[0]");
    }
    is(error($c, 'blockchain.transaction.get_merkle', $SH),
        '-32602 height: missing argument', 'get_merkle needs its height');
    my $id = $c->send_request('blockchain.scripthash.get_history',
        { scripthash => $SH, from_height => 0 });
    is($c->answer($id)->{error}{message}, 'unknown argument: from_height',
        'by name');
    $c = $t->client('tcp');
    $c->version('1.7');
    is(error($c, 'blockchain.outpoint.get_status', $SH, 0),
        '-32602 spk_hint: missing argument', 'the hint must be given');
}

# Blocks until the session was sent its pings, at most one at a time.
sub noise {
    my %c = map { $_ => $t->client('tcp') } qw(none 1.6 1.7 told);
    $c{$_}->version($_ eq 'told' ? '1.7' : $_) for qw(1.6 1.7 told);
    $c{told}->call('blockchain.headers.subscribe');
    my %n = map { $_ => 0 } keys %c;
    for my $block (1 .. 12) {
        $node->generate(1);
        is_deeply($c{1.7}->notification('server.ping', 10), ['0' x 128],
            "block $block: a ping for sure");
        is($c{told}->notification('blockchain.headers.subscribe',
            10)->[0]{height}, $node->height, 'a header');
        is_deeply($c{told}->notification('server.ping', 10), ['0' x 128],
            'and a ping');
        for my $name (keys %c) {
            $c{$name}->call('server.ping');
            $n{$name} += grep { $_->{method} eq 'server.ping' }
                $c{$name}->notifications;
        }
    }
    is($n{none} + $n{'1.6'}, 0, 'none below 1.7');
    cmp_ok($n{'1.7'} + $n{told}, '<', 24, 'a few more by chance');
}
