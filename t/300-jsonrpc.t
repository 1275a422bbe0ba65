#!/usr/bin/perl

# The JSON-RPC envelope, byte by byte: ids, dialects, notifications, batches,
# malformed messages, limits.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t, free_only => 1);
$s->{node}->generate(60);
$s->serve(indexer => { live_window => 20 }, nginx => { electrumx =>
    'max_request 100k; max_response 9600; max_batch 20; max_calls 2;' });

my ($c, $ws) = map { $t->client($_) } qw(tcp ws);
my $PING = '"method":"server.ping"';
my $UNKNOWN = 'nothing.at.all';

subtest 'ids' => \&ids;
subtest 'dialects' => \&dialects;
subtest 'spellings' => \&spellings;
subtest 'invalid requests' => \&invalid;
subtest 'malformed messages' => \&malformed;
subtest 'notifications' => \&notifications;
subtest 'batches' => \&batches;
subtest 'limits' => \&limits;
subtest 'batches that wait for the node' => \&waiting;
subtest 'a client that leaves' => \&leaving;
$t->done;

# The answer to a message, as text.
sub raw {
    my ($text, $client) = @_;
    $client //= $c;
    $client->send_text($text);
    return $client->read_text(5) // '(none)';
}

sub null { return qq({"jsonrpc":"2.0","result":null,"id":$_[0]}) }

# code and id of an error, or the text.
sub error {
    my ($text, $client) = @_;
    my $answer = raw($text, $client);
    my $m = eval { $c->decode($answer) };
    return $answer if ref $m ne 'HASH' || !$m->{error};
    return $answer if $m->{error}{message} !~ /\w/ || exists $m->{result};
    my ($id) = $answer =~ /"id":(.*)\}\z/s;
    return "$m->{error}{code} $id";
}

sub ids {
    for my $id ('1', '0', '-1', '-0', '1.50', '1e3', '-2.5E-10',
        '9007199254740993', '18446744073709551616', '1' x 100, '1e400',
        '""', '"a"', '"\u0041\/"', qq("\xc3\xa9"), '"\\\\\""', 'null', 'true',
        'false', '[]', '[1, 2]', '{"a" : [1]}')
    {
        is(raw(qq({"id":$id,$PING})), null($id), "$id: result");
        is(error(qq({"id":$id,"method":"$UNKNOWN"})), "-32601 $id",
            "$id: error");
    }
    is(raw(qq({"id":1,"id":2,$PING})), null(2), 'the last of two');
    is(raw(qq({"\\u0069d":3,$PING})), null(3), 'an escaped name');
    is(raw(qq({$PING,"id":7}), $ws), null(7), 'websocket');
}

sub dialects {
    is(raw(qq({"jsonrpc":"2.0","id":1,$PING})), null(1), '2.0');
    is(raw(qq({"id":1,$PING})), null(1), 'none: as 2.0');
    is(raw(qq({"jsonrpc":"1.0","id":1,$PING})),
        '{"result":null,"error":null,"id":1}', '1.0');
    like(raw(qq({"jsonrpc":"1.0","id":"x","method":"$UNKNOWN"})),
        qr/^\{"result":null,"error":\{"code":-32601,"message":"[^}]*"\},"id":"x"\}$/,
        '1.0: error');
    like(raw(qq({"jsonrpc":"2.0","id":"x","method":"$UNKNOWN"})),
        qr/^\{"jsonrpc":"2.0","error":\{"code":-32601,"message":"[^}]*"\},"id":"x"\}$/,
        '2.0: error');
    for my $v ('"3.0"', '""', '2.0', '2', 'null', '[]', '"2.0 "') {
        is(error(qq({"jsonrpc":$v,"id":1,$PING})), '-32600 1', "$v: refused");
    }
}

sub spellings {
    for my $p ('', '"params":[],', '"params":null,', '"params":{},',
        '"other":[[{}]],', '"params":[1],"params":[],')
    {
        is(raw(qq({"id":1,$p$PING})), null(1), "'$p'");
    }
    is(raw(qq( \t{ "id" : 1 , "method" : "server.ping" } \r)), null(1),
        'white space and CR');
    is(raw(qq({"id":1,"method":"server\\u002eping"})), null(1),
        'an escaped method');
    is(raw(qq({"id":1,"method":"$UNKNOWN",$PING})), null(1),
        'the last of two methods');
    is(raw("{\n\"id\":\r\n1,$PING}", $ws), null(1), 'lines on WebSocket');
    my $sh = 'ab' x 32;
    my $S = 'blockchain.scripthash';
    for my $p (qq(["$sh"]), qq({"scripthash":"$sh"}),
        qq({"script\\u0068ash":"$sh"}), qq(["\\u0061b) . 'ab' x 31 . '"]')
    {
        is(raw(qq({"id":1,"method":"$S.get_history","params":$p})),
            '{"jsonrpc":"2.0","result":[],"id":1}', $p);
    }
}

sub invalid {
    my %bad = (
        'no method'           => ['{"id":1}', 1],
        'no method, no id'    => ['{}', 'null'],
        'method: a number'    => ['{"id":1,"method":1}', 1],
        'method: null'        => ['{"id":1,"method":null}', 1],
        'method: a list'      => ['{"id":1,"method":["server.ping"]}', 1],
        'params: a number'    => [qq({"id":1,$PING,"params":1}), 1],
        'params: a string'    => [qq({"id":1,$PING,"params":"[]"}), 1],
        'params: false'       => [qq({"id":1,$PING,"params":false}), 1],
        'a number'            => ['1', 'null'],
        'a string'            => ['"server.ping"', 'null'],
        'null'                => ['null', 'null'],
        'no id, bad params'   => [qq({$PING,"params":1}), 'null'],
    );
    is(error($bad{$_}[0]), "-32600 $bad{$_}[1]", $_) for sort keys %bad;
    is(error('{"id":1,"method":""}'), '-32601 1', 'empty name of a method');
    is(error('{"id":1,"method":"' . 'x' x 50000 . '"}'), '-32601 1',
        'a long name of a method');
    is(error('{"id":1,"method":"server.pin"}'), '-32601 1', 'a short one');
    is(error(qq({"id":1,$PING,"params":[1,"",3]})), '-32602 1', 'too many');
    is(error(qq({"id":1,$PING,"params":{"a":1}})), '-32602 1', 'by name');
}

sub malformed {
    my @bad = ('{', '}', '[', '{"id":1', qq({"id":1,$PING}}), 'x', ' ',
        qq({'id':1,$PING}), qq({"id":01,$PING}), qq({"id":1,$PING,}),
        qq({"id":1,"method":"\xff"}), qq({"id":"\xc0\xaf",$PING}),
        qq({"id":"\xed\xa0\x80",$PING}), qq({"id":"a\tb",$PING}),
        qq({"id":"\\ud800",$PING}), qq({"id":"\\u0000",$PING}),
        qq({"id":1,$PING}\0), qq({"id":1,"method":"\0"}), "\0",
        qq({"id":1,$PING} {"id":2,$PING}), "\xef\xbb\xbf{}", 'NaN');
    for my $text (@bad) {
        my $name = $text =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger;
        is(error($text), '-32700 null', "'$name'");
    }
    $c->send_raw("\n\r\n\n");
    is(raw(qq({"id":1,$PING})), null(1), 'empty lines do not count');
}

sub notifications {
    $c->send_text($_) for qq({$PING}), qq({"method":"$UNKNOWN"}),
        qq({"jsonrpc":"1.0","id":null,$PING}), qq({$PING,"params":[1]}),
        qq([{$PING},{$PING}]), '{"method":"blockchain.estimatefee","params":[2]}';
    is(raw(qq({"id":5,$PING})), null(5), 'no answers');
    $c->send_text('{"method":"blockchain.headers.subscribe"}');
    is(raw(qq({"id":6,$PING})), null(6), 'a subscription has none either');
    $s->{node}->generate(1);
    my $n = $c->notification('blockchain.headers.subscribe', 10);
    is($n->[0]{height}, 61, 'but it holds');
}

sub batches {
    is(error('[]'), '-32600 null', 'empty');
    is(raw(qq([{"id":1,$PING}])), '[' . null(1) . ']', 'of one');
    is(raw(qq([{"id":1,$PING},{"id":1,$PING},{"id":"b",$PING}])),
        '[' . join(',', map { null($_) } 1, 1, '"b"') . ']', 'of three');
    is(raw(qq([{"id":1,$PING},{$PING},{"id":2,$PING}])),
        '[' . join(',', map { null($_) } 1, 2) . ']', 'with a notification');
    my $m = $c->decode(raw(qq([1,[],{"id":7},{"id":8,$PING},{"id":9,"method":)
        . qq("$UNKNOWN"},{"jsonrpc":"1.0","id":10,$PING}])));
    is(join(' ', map { ($_->{id} // 'null') . ':'
        . ($_->{error} ? $_->{error}{code} : 'ok') } @$m),
        'null:-32600 null:-32600 7:-32600 8:ok 9:-32601 10:ok', 'mixed');
    is(scalar @{ $c->decode(raw('[' . join(',', (qq({"id":1,$PING})) x 20)
        . ']')) }, 20, 'as many members as allowed');
    is(error('[' . join(',', (qq({"id":1,$PING})) x 21) . ']'), '-32600 null',
        'one too many');
    is(error("[{\"id\":1,$PING},]"), '-32700 null', 'malformed');
}

sub limits {
    my $deep = '[' x 29 . ']' x 29;
    is(raw(qq({"id":1,"x":$deep,$PING})), null(1), 'nested 30 deep');
    is(error(qq({"id":1,"x":[[[[$deep]]]],$PING})), '-32600 null',
        'nested 34 deep');
    is(raw(qq({"id":1,"x":[) . '1,' x 9000 . qq(1],$PING})), null(1),
        'many values');
    my $B = 'blockchain.block';
    my $head = qq("method":"$B.headers","params":[0,);
    like(raw(qq({"id":1,${head}30]})), qr/"count":30/, 'an answer that fits');
    my $text = raw(qq({"id":1,${head}60]}));
    my $m = $c->decode($text);
    is($m->{error}{code}, -32600, 'one that does not');
    like($m->{error}{message}, qr/response too large/, 'says so');
    $m = $c->decode(raw(qq([{"id":1,${head}24]},{"id":2,${head}24]},)
        . qq({"id":3,${head}24]},{"id":4,$PING},{"id":5,${head}30]},)
        . qq({"id":6,${head}24]},{"id":7,${head}24]}])));
    is(join(' ', map { $_->{id} . ($_->{error} ? 'e' : '') } @$m),
        '1 2 3e 4 5e 6e 7e', 'members that do not fit');
    is(scalar(grep { $_->{error} && $_->{error}{code} != -32600 } @$m), 0,
        'code of each');
    my $id = '"' . 'x' x 9400 . '"';
    is(raw(qq({"id":$id,$PING})), null($id), 'a long id');
    $id = '"' . 'x' x 50000 . '"';
    is(error(qq({"id":$id,$PING})), "-32600 $id",
        'an id longer than an answer may be');
    is(error(qq({"id":1,"x":") . 'x' x 110_000 . qq(",$PING})),
        '-32600 null', 'a message longer than allowed');
    is(raw(qq({"id":2,$PING})), null(2), 'and it goes on');
}

# Members that ask the node are answered after the others.
sub waiting {
    my $fee = '"method":"blockchain.estimatefee","params":';
    my @ids = map { $_->{id} } @{ $c->decode(raw(qq([{"id":1,${fee}[2]},)
        . qq({"id":2,$PING},{"id":3,${fee}[3]},{"id":4,$PING}]))) };
    is("@ids[0, 1]", '2 4', 'others first');
    is(join(' ', sort @ids), '1 2 3 4', 'all of them');
    my $many = $c->decode(raw('[' . join(',',
        map {qq({"id":$_,${fee}[$_]})} 1 .. 20) . ']'));
    is(scalar(grep { !$_->{error} && $_->{result} == -1 } @$many), 20,
        'more than may be under way');
    is(scalar(keys %{ { map { $_->{id} => 1 } @$many } }), 20, 'each once');
    my @a = $c->pipeline(map { ['blockchain.estimatefee', $_] } 1 .. 400);
    is(scalar(grep { !$_->{error} } @a), 400, 'many requests at once');
    my $pad = 'x' x 7000;
    @a = map { $c->send_request('blockchain.estimatefee', [2, $_ . $pad]);
        } 1 .. 3;
    is($c->answer($_)->{error}{code}, 1, 'a long mode') for @a;
    my $indexer = $t->proc('indexer');
    $indexer->signal('STOP');
    for my $n (1 .. 400) {
        $c->send_text(qq([{"id":"$n",$PING},{"id":"$pad",${fee}[7]}]));
    }
    my %n;
    for my $got (1 .. 400) {
        $indexer->signal('CONT') if $got == 200;
        $n{ $_->{id} eq $pad ? $_->{error}{code} // 'ok' : 'ping' }++
            for @{ $c->read_message };
    }
    is($n{ping}, 400, 'batches that hold much: all are answered');
    cmp_ok($n{ok} // 0, '>', 10, 'calls too');
    cmp_ok($n{-102} // 0, '>', 10, 'until it is too much')
        or diag explain \%n;
    my $text = raw(qq([{$PING},{${fee}[4]}]) . "\n" . qq({"id":5,$PING}));
    is($text, null(5), 'only notifications');
}

sub leaving {
    my $fee = '"method":"blockchain.estimatefee","params":';
    for my $n (1 .. 5) {
        my $x = $t->client($n % 2 ? 'tcp' : 'ws');
        $x->send_text('[' . join(',', map {qq({"id":$_,${fee}[$_]})} 1 .. 20)
            . ']');
        $x->send_text(qq({"id":1,${fee}[9]}));
        $x->abort;
    }
    is(raw(qq({"id":1,$PING})), null(1), 'is forgotten');
    my @a = $c->pipeline(map { ['blockchain.estimatefee', $_] } 1 .. 10);
    is(scalar(grep { !$_->{error} } @a), 10, 'calls go on');
}
