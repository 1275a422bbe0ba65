#!/usr/bin/perl

# server.*: negotiation of the version and what it changes, banner, features,
# peers; and what is answered while there is no index yet.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use JSON::PP ();

my $SERVER = qr/^ElectrumX-nginx \d+\.\d+\.\d+$/;
my $JSON = JSON::PP->new->allow_nonref->canonical;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my $node = $s->{node};
$node->generate(5);
$t->write_file('banner', "Hello \xc3\xa9 \$\$SERVER_VERSION "
    . "\$SERVER_SUBVERSION\n\$DAEMON_VERSION|\$DAEMON_SUBVERSION|"
    . "\$DONATION_ADDRESS \$OTHER \$");
$t->write_file('tor-banner', "Hello onion \$DONATION_ADDRESS\n");
$t->start_nginx(electrumx => "banner $t->{dir}/banner; donation 'me \"too\"';"
    . "tor_banner $t->{dir}/tor-banner; tor_from 127.0.0.8/30 ::5;"
    . 'report_host tcp://one.example:50001 ssl://one.example:50002'
    . ' wss://two.example:50004 tcp://[::1]:7 ssl://two.example:443;');
my $early = $t->client('tcp');
subtest 'before there is an index' => \&not_ready;
$s->serve(no_nginx => 1);
subtest 'as soon as there is one' => \&ready;
subtest 'versions' => \&versions;
subtest 'versions not in common' => \&no_version;
subtest 'order of messages' => \&order;
subtest 'arguments of server.version' => \&arguments;
subtest 'ping' => \&ping;
subtest 'banner and donation' => \&banner;
subtest 'features and peers' => \&features;
subtest 'methods outside their version' => \&all_versions;
$t->done;

sub error {
    my ($c, @call) = @_;
    my $e = $c->error_of(@call) || {};
    return ($e->{code} // 'none') . ' ' . ($e->{message} // '');
}

sub not_ready {
    my $c = $t->client('ws');
    is(error($c, 'blockchain.headers.subscribe'), '-32603 the index is not '
        . 'ready: the indexer is not running', 'no indexer');
    like($c->call('server.version', 'x', '1.4')->[0], $SERVER, 'version');
    is($early->call('server.ping'), undef, 'ping');
    like($early->call('server.banner'), qr/\|\|me "too"/,
        'banner: nothing known of the node');
    is($early->call('server.donation_address'), 'me "too"', 'donation');
    is(ref $early->call('server.peers.subscribe'), 'ARRAY', 'peers');
    is(error($early, 'server.nothing'), '-32601 unknown method '
        . '"server.nothing"', 'unknown method');
    for (['server.features'], ['blockchain.block.header', 1],
        ['blockchain.scripthash.subscribe', 'ab' x 32],
        ['blockchain.transaction.get', 'ab' x 32],
        ['mempool.get_fee_histogram'])
    {
        like(error($early, @$_), qr/^-32603 the index is not ready/, $_->[0]);
    }
    like(error($early, 'blockchain.block.header'), qr/^-32602/,
        'arguments are checked first');
    is($early->call('blockchain.scripthash.unsubscribe', 'ab' x 32),
        JSON::PP::false(), 'unsubscribe');
    for (['blockchain.transaction.broadcast', '00'],
        ['blockchain.estimatefee', 2], ['mempool.get_info'])
    {
        like(error($early, @$_), qr/^(?:2 daemon error: \w|-\d+ \w)/,
            "$_->[0]: the node cannot be asked");
    }
}

sub ready {
    $t->wait_for(sub { !$early->error_of('blockchain.headers.subscribe') },
        10, 'the same session is served');
    is($early->call('blockchain.headers.subscribe')->{height}, 5, 'height');
    $node->generate(1);
    is($early->notification('blockchain.headers.subscribe', 10)->[0]{height},
        6, 'notified');
}

sub versions {
    my @t = (
        ['1.4', '1.4'], ['1.4.0', '1.4.0'], ['1.4.1', '1.4.1'],
        ['1.4.2', '1.4.2'], ['1.5.3', '1.5.3'], ['1.6', '1.6'],
        ['1.6.0', '1.6.0'], [['1.4', '1.6'], '1.6'],
        [['1.4', '1.4.2'], '1.4.2'], [['1.2', '1.4'], '1.4'],
        ['1.6.1', '1.6.1'], ['1.7', '1.7'], ['1.7.0', '1.7.0'],
        [['1.4', '1.7'], '1.7'], [['1.4', '1.8'], '1.7'],
        [['1.7.0', '2'], '1.7.0'], [['1.6.0', '1.6.9'], '1.6.9'],
        [undef, '1.4'],
    );
    for my $v (@t) {
        my $c = $t->client('tcp');
        my $r = $c->call('server.version', 'name', $v->[0]);
        is($r->[1], $v->[1], $JSON->encode($v->[0]));
        my $list = $v->[1] =~ /^1\.[67]/;
        my $h = $c->call('blockchain.block.headers', 0, 2);
        is(join(' ', sort keys %$h), $list ? 'count headers max'
            : 'count hex max', 'its shape of block.headers');
        my $many = $c->error_of('server.banner', 1);
        is($many ? $many->{code} : 0, $list ? 0 : -32602,
            'superfluous arguments');
    }
}

sub no_version {
    for my $v ('1.3', '1.8', '1.7.1', '0', '', 'x', '1.4.', ['1.8', '2'],
        ['1', '1.3'], ['1.6', '1.4'], ['1.4'], [], {}, 1.4, [1.4, 1.6],
        'y' x 5000)
    {
        my $name = substr $JSON->encode($v), 0, 30;
        my $c = $t->client($v eq 'x' ? 'ws' : 'tcp');
        my $id = $c->send_request('server.version', ['x', $v]);
        my $e = $c->answer($id)->{error};
        is($e->{code}, 1, "$name: error");
        like($e->{message}, qr/^unsupported protocol version: /, 'says so');
        ok(length $e->{message} < 200, 'briefly');
        ok($c->closed(5), 'closed');
    }
    my $c = $t->client('tcp');
    my $a = $c->batch(['server.version', 'x', '9'], ['server.ping']);
    is($a->[0]{error}{code}, 1, 'in a batch: error');
    ok(exists $a->[1]{result}, 'the others are answered');
    ok($c->closed(5), 'closed');
}

sub order {
    my $c = $t->client('tcp');
    is($c->call('blockchain.block.headers', 0, 1)->{count}, 1,
        'served without a version');
    like(error($c, 'server.version', 'x', ['1.4', '1.6']),
        qr/^1 .*first message/, '1.6 must come first');
    is($c->call('server.version', 'x', ['1.4', '1.5'])->[1], '1.5',
        'lower ones need not');
    is(error($c, 'server.version', 'x', '1.4'),
        '1 server.version already sent', 'only once');
    is($c->call('server.ping'), undef, 'and it goes on');
    $c = $t->client('ws');
    my $a = $c->batch(['server.version', 'x', '1.6'],
        ['blockchain.block.headers', 0, 1]);
    is($a->[0]{result}[1], '1.6', 'first of a batch');
    ok($a->[1]{result}{headers}, 'counts for the rest');
    $c = $t->client('ws');
    my @a = $c->pipeline(['server.version', 'x', '1.6'],
        ['blockchain.block.headers', 0, 1]);
    ok($a[1]{result}{headers}, 'also without waiting for the answer');
}

sub arguments {
    for my $p ([], [undef, undef], ['', '1.4'], [5, '1.4'], [[], '1.4'],
        ['n' x 3000, '1.4'], ["\x{20ac}" x 60, '1.4'], ['x', '1.4', 1, {}],
        {}, { client_name => 'x' }, { protocol_version => '1.4' },
        { protocol_version => '1.4', client_name => 'x', more => [] })
    {
        my $c = $t->client('tcp');
        my $id = $c->send_request('server.version', $p);
        my $r = $c->answer($id)->{result};
        like($r->[0], $SERVER, substr $JSON->ascii->encode($p), 0, 50);
        is($r->[1], '1.4', 'version');
    }
}

sub ping {
    my %c = map { $_ => $t->client($_ eq '1.7' ? 'ws' : 'tcp') } qw(0 1.6 1.7);
    $c{$_}->version($_) for qw(1.6 1.7);
    for ([], [0], [5], [5, 'ab'], ['7', 'a'], [undef, undef]) {
        my $name = $JSON->encode($_);
        is($c{0}->call('server.ping', @$_), undef, "$name: no version");
        is($c{'1.6'}->call('server.ping', @$_), undef, "$name: 1.6");
        is_deeply($c{'1.7'}->call('server.ping', @$_),
            { data => '0' x ($_->[0] || 0) }, "$name: 1.7");
    }
    is(length $c{'1.7'}->call('server.ping', 300_001)->{data}, 300_001,
        'a long one');
    my $c = $c{'1.7'};
    is(error($c, 'server.ping', 8_100_001), '1 pong_len value too high',
        'too long');
    like(error($c, 'server.ping', 8_100_000), qr/^-32600 response too large/,
        'too long with the rest of the answer');
    is(error($c, 'server.ping', 1, 'x'), '-32602 data: hex digits expected',
        'data');
    is(error($c, 'server.ping', -1),
        '-32602 pong_len: a non-negative integer expected', 'pong_len');
    for my $p ('[]', '["00"]', '["0",1,2]', '{"data":"00"}') {
        $c->send_text(qq({"jsonrpc":"2.0","method":"server.ping","params":$p}));
    }
    my $f = $c->call('server.features');
    ok(!exists $f->{hash_function}, 'notifications are not answered');
    is($f->{protocol_max}, '1.7', 'features of 1.7');
}

sub banner {
    my $n = $node->rpc('getnetworkinfo');
    my $v = join '.', map { int } $n->{version} / 10000,
        $n->{version} / 100 % 100, $n->{version} % 100;
    my $text = $early->call('server.banner');
    like($text, qr/^Hello \x{e9} \$\d+\.\d+\.\d+ ElectrumX-nginx \d+\.\S+\n/,
        'banner');
    is($text =~ s/.*\n//r, "$v|$n->{subversion}|me \"too\" \$OTHER \$",
        'variables of the node');
    is($early->call('server.donation_address'), 'me "too"', 'donation');
    for my $from (qw(127.0.0.7 127.0.0.8 127.0.0.11 127.0.0.12)) {
        for my $transport (qw(tcp ws)) {
            my $c = $t->client($transport, from => $from);
            is($c->call('server.banner'), $from =~ /\.(?:8|11)$/
                ? "Hello onion me \"too\"\n" : $text,
                "$transport from $from: its banner");
        }
    }
}

sub features {
    my $f = $early->call('server.features');
    is_deeply($f, {
        hosts => {
            'one.example' => { tcp_port => 50001, ssl_port => 50002 },
            'two.example' => { wss_port => 50004, ssl_port => 443 },
            '[::1]' => { tcp_port => 7 },
        },
        pruning => undef, server_version => $f->{server_version},
        protocol_min => '1.4', protocol_max => '1.7',
        genesis_hash => $node->hash_at(0), hash_function => 'sha256',
        services => [qw(tcp://one.example:50001 ssl://one.example:50002
            wss://two.example:50004 tcp://[::1]:7 ssl://two.example:443)],
    }, 'features') or diag explain $f;
    like($f->{server_version}, $SERVER, 'server version');
    is_deeply($early->call('server.peers.subscribe'), [
        ['one.example', 'one.example', ['v1.7', 't50001', 's50002']],
        ['two.example', 'two.example', ['v1.7', 's443']],
        ['[::1]', '[::1]', ['v1.7', 't7']],
    ], 'peers: ourselves');
    ok(!$early->call('server.add_peer', $f), 'no other servers are taken');
    is(error($early, 'server.add_peer'), '-32602 features: missing argument',
        'add_peer without arguments');
}

sub all_versions {
    my ($old, $new) = map { $t->client('tcp') } 1, 2;
    $old->version('1.4');
    $new->version('1.6');
    my $fee = $node->rpc('getnetworkinfo')->{relayfee};
    cmp_ok($new->call('blockchain.relayfee'), '==', $fee,
        'relayfee in 1.6');
    ok($old->call('mempool.get_info')->{minrelaytxfee}, 'get_info in 1.4');
    is($old->call('blockchain.scripthash.unsubscribe', 'ab' x 32),
        JSON::PP::false(), 'unsubscribe in 1.4');
    like(error($old, 'blockchain.transaction.broadcast_package', ['00']),
        qr/^1 the tx package was rejected/, 'broadcast_package in 1.4');
    for (qw(blockchain.block.get_header blockchain.block.get_chunk
        blockchain.numblocks.subscribe blockchain.utxo.get_address))
    {
        like(error($old, $_, 1), qr/^-32601/, "$_: removed");
    }
}
