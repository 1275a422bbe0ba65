package ElectrumX::Node;

# A real bitcoind on regtest and its JSON-RPC.
#
#   my $node = ElectrumX::Node->start($t, name => 'node', args => ['-x=1'],
#       user => 'u', password => 'p');    # cookie when no user is given
#   $node->url;                 # http://user:pass@127.0.0.1:port
#   $node->cookie;              # path of the cookie file (without user)
#   $node->indexer_conf;        # daemon_url and daemon_cookie for the indexer
#   $node->slow_conf($ms);      # the same through a slow proxy
#   $node->rpc($method, @params);           # result, dies with the error
#   $node->try($method, @params);           # (result, error)
#   $node->rpc_batch([$method, @params], ...);      # results in order
#   $node->block($hash);        # its bytes (REST)
#   $node->height; $node->tip; $node->hash_at($height);
#   $node->generate($n, $descriptor);       # block hashes
#   $node->generate_block([$hex...], $descriptor);  # these transactions only
#   $node->reorg($n, $more);    # replaces the last $n blocks by $n + $more
#   $node->send($hex);          # sendrawtransaction without fee limits
#   $node->stop; $node->kill;  $node->restart;
#
# True and false for parameters: ElectrumX::Node::TRUE, FALSE.

use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 ();
use Socket qw(SOL_SOCKET SO_RCVTIMEO);
use Time::HiRes qw(sleep time);

use constant { TRUE => JSON::PP::true(), FALSE => JSON::PP::false() };

our $ANYONE = 'raw(51)#8lvh9jxk';    # OP_TRUE: a coin that needs no key
my $JSON = JSON::PP->new->utf8->allow_nonref;

sub start {
    my ($class, $t, %o) = @_;
    my $name = $o{name} || 'node';
    my $self = bless { t => $t, name => $name, %o, id => 0,
        port => $o{port} || $t->port($name), dir => $t->path($name) }, $class;
    mkdir $self->{dir};
    $self->launch;
    $self->wait_up if !$o{no_wait};
    return $self;
}

sub launch {
    my ($self, @more) = @_;
    my @auth = defined $self->{user}
        ? ("-rpcuser=$self->{user}", "-rpcpassword=$self->{password}") : ();
    $self->{proc} = $self->{t}->start($self->{name}, death => 'KILL',
        cmd => [$self->{t}->program('bitcoind'), '-regtest',
            "-datadir=$self->{dir}", "-rpcport=$self->{port}",
            '-rpcbind=127.0.0.1', '-rpcallowip=127.0.0.1', @auth,
            qw(-server=1 -rest=1 -listen=0 -connect=0 -dnsseed=0 -upnp=0
            -natpmp=0 -txindex=0 -printtoconsole=0 -fallbackfee=0.0001
            -dbcache=32 -par=1 -rpcthreads=8 -rpcworkqueue=128
            -acceptnonstdtxn=1 -corepolicy=1 -acceptnonstddatacarrier=1
            -datacarriercost=0.25 -minrelaytxfee=0.00000100
            -mempoolfullrbf=1 -limitancestorcount=40
            -limitdescendantcount=40 -maxtxfee=1000),
            @{ $self->{args} || [] }, @more]);
    return $self;
}

sub wait_up {
    my ($self) = @_;
    $self->{t}->wait_for(
        sub {
            die "bitcoind ended: " . $self->{t}->tail("$self->{name}.log")
                . "\n" if !$self->{proc}->running;
            return defined eval { $self->rpc('getblockcount') };
        }, 30, 'bitcoind answers');
}

sub proc { $_[0]{proc} }
sub port { $_[0]{port} }

sub cookie {
    my ($self) = @_;
    return "$self->{dir}/regtest/.cookie";
}

sub url {
    my ($self) = @_;
    my $auth = defined $self->{user} ? "$self->{user}:$self->{password}\@" : '';
    return "http://${auth}127.0.0.1:$self->{port}";
}

sub indexer_conf {
    my ($self) = @_;
    return (daemon_url => $self->url, daemon_cookie =>
        defined $self->{user} ? undef : $self->cookie);
}

# The same through a proxy that answers each request $ms milliseconds later.
sub slow_conf {
    my ($self, $ms) = @_;
    my $t = $self->{t};
    my $n = ++$self->{proxies};
    my $port = $t->port("proxy$n");
    $t->start("proxy$n", cmd => [$^X,
        "$ElectrumX::Test::ROOT/t/lib/ElectrumX/slow-proxy.pl", $port,
        $self->{port}, $ms]);
    $t->wait_for(sub { $t->_answers($port) }, 5, 'proxy');
    my %conf = $self->indexer_conf;
    $conf{daemon_url} =~ s/:\d+$/:$port/;
    return %conf;
}

# ---- RPC --------------------------------------------------------------------

sub _auth {
    my ($self) = @_;
    return "$self->{user}:$self->{password}" if defined $self->{user};
    my $cookie = $self->{t}->read_file($self->cookie);
    die "no cookie\n" if !defined $cookie;
    return $cookie;
}

sub _post {
    my ($self, $data) = @_;
    my $body = $JSON->encode($data);
    my $request = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        . 'Authorization: Basic '
        . MIME::Base64::encode_base64($self->_auth, '')
        . "\r\nContent-Type: application/json\r\nContent-Length: "
        . length($body) . "\r\n\r\n$body";
    my ($status, $content) = eval { $self->_http($request) };
    if (!defined $status) {    # the node closed the idle connection
        delete $self->{sock};
        ($status, $content) = $self->_http($request);
    }
    my $answer = eval { $JSON->decode($content) };
    return $answer if ref $answer;
    die "HTTP $status: $content\n";
}

# One request on the kept connection, written in one piece (HTTP::Tiny writes
# head and body apart, which costs 40 ms a call); (status, body).
sub _http {
    my ($self, $request) = @_;
    my $s = $self->{sock} ||= IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 10)
        or die "connect to the node: $!\n";
    setsockopt $s, SOL_SOCKET, SO_RCVTIMEO, pack 'l!l!', 120, 0;
    syswrite($s, $request) == length $request or die "write: $!\n";
    my $in = '';
    while ($in !~ /\r\n\r\n/) {
        sysread $s, $in, 65536, length $in or die "node closed\n";
    }
    my ($head, $body) = split /\r\n\r\n/, $in, 2;
    my ($length) = $head =~ /^Content-Length: (\d+)/mi or die "no length\n";
    while (length $body < $length) {
        sysread $s, $body, $length - length $body, length $body
            or die "node closed\n";
    }
    delete $self->{sock} if $head =~ /^Connection: close/mi;
    return ($head =~ /^\S+ (\d+)/, $body);
}

sub try {
    my ($self, $method, @params) = @_;
    my $a = $self->_post({ jsonrpc => '1.0', id => ++$self->{id},
        method => $method, params => \@params });
    return ($a->{result}, $a->{error});
}

sub rpc {
    my ($self, $method, @params) = @_;
    my ($result, $error) = $self->try($method, @params);
    die "$method: $error->{code} $error->{message}\n" if $error;
    return $result;
}

# Many calls in HTTP requests of some hundred each.
sub rpc_batch {
    my ($self, @calls) = @_;
    my @results;
    while (my @part = splice @calls, 0, 500) {
        my $i = 0;
        my $answers = $self->_post([map {
            my ($method, @params) = @$_;
            { jsonrpc => '1.0', id => $i++, method => $method,
                params => \@params }
        } @part]);
        for my $a (sort { $a->{id} <=> $b->{id} } @$answers) {
            die "$part[$a->{id}][0]: $a->{error}{message}\n" if $a->{error};
            push @results, $a->{result};
        }
    }
    return @results;
}

sub block {
    my ($self, $hash) = @_;
    my ($status, $bytes) = $self->_http(
        "GET /rest/block/$hash.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    die "block $hash: HTTP $status\n" if $status != 200;
    return $bytes;
}

# ---- chain ------------------------------------------------------------------

sub height  { return $_[0]->rpc('getblockcount') }
sub tip     { return $_[0]->rpc('getbestblockhash') }
sub hash_at { return $_[0]->rpc('getblockhash', 0 + $_[1]) }

sub generate {
    my ($self, $n, $descriptor) = @_;
    return @{ $self->rpc('generatetodescriptor', 0 + $n,
        $descriptor // $ANYONE) };
}

sub generate_block {
    my ($self, $txs, $descriptor) = @_;
    return $self->rpc('generateblock', $descriptor // $ANYONE,
        $txs || [])->{hash};
}

# Undoes the last $n blocks and builds $n + $more (1) empty or given ones:
# $blocks is a list of transaction lists for the first blocks.
sub reorg {
    my ($self, $n, $more, $blocks) = @_;
    my $first = $self->hash_at($self->height - $n + 1);
    $self->rpc('invalidateblock', $first);
    my @hashes;
    # An empty block may be the very one that was undone but for its script.
    my $other = $self->descriptor(sprintf 'raw(04%08x7551)', ++$self->{forks});
    for my $i (1 .. $n + ($more // 1)) {
        push @hashes, $self->generate_block(
            $blocks ? $blocks->[$i - 1] : [], $i == 1 ? $other : undef);
    }
    return @hashes;
}

# Descriptor with its checksum.
sub descriptor {
    my ($self, $text) = @_;
    return $self->{checked}{$text} //= do {
        my $info = $self->rpc('getdescriptorinfo', $text);
        "$text#$info->{checksum}";
    };
}

# The answer of the node to a descriptor of a script.
sub raw_descriptor {
    my ($self, $script) = @_;
    return $self->descriptor('raw(' . unpack('H*', $script) . ')');
}

sub send {
    my ($self, $hex) = @_;
    return $self->rpc('sendrawtransaction', $hex, 0, '21000000');
}

sub mempool { return @{ $_[0]->rpc('getrawmempool') } }

# ---- process ----------------------------------------------------------------

sub stop { return $_[0]{proc}->stop(timeout => 30) }
sub kill { return $_[0]{proc}->kill_hard }

sub restart {
    my ($self, @more) = @_;
    $self->stop;
    delete $self->{sock};
    $self->launch(@more);
    $self->wait_up;
}

1;
