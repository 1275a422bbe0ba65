#!/usr/bin/perl

# daemon.passthrough: for the clients of electrumx_passthrough only, and what
# the indexer's setting allows.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;

my $M = 'daemon.passthrough';
my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my $node = $s->{node};
$node->generate(3);
$s->serve(nginx =>
    { electrumx => 'electrumx_passthrough 127.0.0.2 127.0.1.0/24 ::7;' });
subtest 'who may' => \&who;
subtest 'what comes back' => \&what;
subtest 'what is not passed on' => \&not_passed;
subtest 'forms of the request' => \&forms;
$t->stop('indexer');
$t->start_indexer($node->indexer_conf, passthrough => 'getblockcount,help');
$t->wait_ready($node->height, 30);
subtest 'a list of methods' => \&list;
$t->done;

# The answer to a request with named parameters.
sub ask {
    my ($c, $params) = @_;
    return $c->answer($c->send_request($M, $params));
}

sub who {
    for (['127.0.0.1', 0], ['127.0.0.2', 1], ['127.0.0.3', 0],
        ['127.0.1.77', 1], ['127.0.2.1', 0])
    {
        my ($from, $may) = @$_;
        for my $transport (qw(tcp ws tls)) {
            my $c = $t->client($transport, from => $from);
            my $a = ask($c, { method => 'getblockcount', params => [] });
            is($a->{result}, $may ? 3 : undef, "$from over $transport");
            next if $may;
            is($a->{error}{code}, -32601, 'no such method');
            is(ask($c, [])->{error}{code}, -32601, 'whatever the arguments');
        }
    }
}

sub what {
    my $c = $t->client('tcp', from => '127.0.0.2');
    my $hash = $node->hash_at(2);
    for (['getblockhash', 2], ['getblockheader', $hash],
        ['getblock', $hash, 2], ['getrawmempool'], ['getblockchaininfo'],
        ['gettxout', 'ab' x 32, 0])
    {
        my ($method, @args) = @$_;
        my $want = $node->rpc($method, @args);
        delete @$want{qw(time size_on_disk)} if ref $want eq 'HASH';
        my $a = ask($c, { method => $method, params => \@args });
        delete @{ $a->{result} }{qw(time size_on_disk)}
            if ref $a->{result} eq 'HASH';
        is_deeply($a->{result}, $want, $method);
    }
    is(ask($c, { method => 'getblockcount' })->{result}, 3, 'no parameters');
    is(ask($c, ['getblockhash', [2]])->{result}, $hash, 'by position');
    my $e = ask($c, { method => 'getblockhash', params => [99] })->{error};
    is($e->{code}, 2, 'an error of the node');
    like($e->{message}, qr/^daemon error: Block height out of range/,
        'in its words');
}

sub not_passed {
    my $c = $t->client('tcp', from => '127.0.0.2');
    for (qw(stop generatetoaddress sendtoaddress dumpprivkey setban
        invalidateblock loadwallet getblockcountx))
    {
        my $e = ask($c, { method => $_, params => [] })->{error};
        is("$e->{code} $e->{message}",
            '1 the indexer does not pass this method on', $_);
    }
    is($node->rpc('getblockcount'), 3, 'the node is as it was');
}

sub forms {
    my $c = $t->client('tcp', from => '127.0.0.2');
    for ([{}, 'method: missing'], [{ params => [] }, 'method: missing'],
        [{ method => 5 }, 'method: a string'],
        [{ method => '' }, 'method: the name'],
        [{ method => 'a"b' }, 'method: the name'],
        [{ method => 'x' x 65 }, 'method: the name'],
        [{ method => 'getblockcount', params => {} }, 'params: an array'],
        [{ method => 'getblockcount', params => 5 }, 'params: an array'])
    {
        my $e = ask($c, $_->[0])->{error};
        is($e->{code}, -32602, $_->[1]);
        like($e->{message}, qr/^\Q$_->[1]/, 'says so');
    }
    is(ask($c, { method => 'getblockcount', other => 1 })->{result}, 3,
        'other members pass');
}

sub list {
    my $c = $t->client('tcp', from => '127.0.0.2');
    is(ask($c, { method => 'getblockcount' })->{result}, 3, 'in the list');
    is(ask($c, { method => 'getblockhash', params => [1] })->{error}{code}, 1,
        'not in the list');
}
