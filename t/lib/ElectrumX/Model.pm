package ElectrumX::Model;

# What an Electrum server must answer, computed from the node's RPC alone.
#
#   my $model = ElectrumX::Model->new($node);
#   my $p = $model->picture;       # chain and mempool of this moment
#
# A picture never changes.  Its answers have the exact shape of the protocol:
#   $p->{height}  $p->{tip}  $p->header($h)  (hex)
#   $p->scripthashes               all that ever occurred, also OP_RETURN
#   $p->history($sh) $p->mempool($sh) $p->unspent($sh) $p->balance($sh)
#   $p->status($sh)                undef for a script without history
#   $p->txids($h)  $p->raw($txid) (hex)  $p->tx_height($txid)
#   $p->merkle($txid)              { merkle, block_height, pos }
#   $p->id_from_pos($h, $pos)      { tx_hash, merkle }
#   $p->header_proof($h, $cp)      { header, branch, root }
#   $p->headers($start, $count, $cp, $version)
#   $p->utxos                      [{ txid, vout, value, script, height,
#                                    coinbase }], unspent also in the mempool
#   $p->all_txids  $p->mempool_txids
#
# Blocks and transactions that were read once are kept in the model, so a
# picture after a reorg costs only the new blocks.

use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use ElectrumX::Node;
use ElectrumX::Tx qw(:all);

my %shash;    # script -> scripthash

sub new {
    my ($class, $node) = @_;
    return bless { node => $node, blocks => {}, txs => {}, cp => {} }, $class;
}

# Reads until neither tip nor mempool changed meanwhile.
sub picture {
    my ($self) = @_;
    for (1 .. 50) {
        my $tip = $self->{node}->tip;
        my $seq = $self->_sequence;
        my $p = eval { $self->_read($tip) };
        die $@ if !$p && $@ !~ /not in mempool|No such mempool|not found/i;
        return $p->_index if $p && $self->{node}->tip eq $tip
            && $self->_sequence == $seq;
    }
    die "the node never stood still\n";
}

sub _sequence {
    my ($self) = @_;
    return $self->{node}->rpc('getrawmempool', ElectrumX::Node::FALSE,
        ElectrumX::Node::TRUE)->{mempool_sequence};
}

sub _read {
    my ($self, $tip) = @_;
    my @chain = $self->_chain($tip);
    my $pool = $self->{node}->rpc('getrawmempool', ElectrumX::Node::TRUE);
    my @new = grep { !$self->{txs}{$_} } sort keys %$pool;
    my @raw = $self->{node}->rpc_batch(
        map { ['getrawtransaction', $_] } @new);
    for my $i (0 .. $#new) {
        my $tx = parse_tx(pack 'H*', $raw[$i]);
        die "txid of $new[$i] differs" if $tx->{txid} ne $new[$i];
        $self->{txs}{ $new[$i] } = $tx;
    }
    return bless {
        tip => $tip, height => $#chain, chain => \@chain, model => $self,
        pool => { map { $_ => $self->_pool_entry($_, $pool) } keys %$pool },
    }, 'ElectrumX::Model::Picture';
}

sub _pool_entry {
    my ($self, $txid, $pool) = @_;
    my $tx = $self->{txs}{$txid};
    my $unconfirmed = grep { $pool->{ $_->{txid} } } @{ $tx->{vin} };
    my $fee = sprintf '%.0f', $pool->{$txid}{fees}{base} * 1e8;
    return { tx => $tx, height => $unconfirmed ? -1 : 0, fee => 0 + $fee };
}

# Blocks of the chain that ends in $tip, genesis first.
sub _chain {
    my ($self, $tip) = @_;
    my @want;
    my $height = $self->{node}->rpc('getblockheader', $tip)->{height};
    my @hashes = $self->{node}->rpc_batch(
        map { ['getblockhash', $_] } 0 .. $height);
    my @new = grep { !$self->{blocks}{$_} } @hashes;
    while (my @part = splice @new, 0, 50) {
        my @raw = $self->{node}->rpc_batch(
            (map { ['getblock', $_, 0] } @part),
            (map { ['getblock', $_, 1] } @part));
        $self->_keep($part[$_], $raw[$_], $raw[$_ + @part]) for 0 .. $#part;
    }
    my @chain = map { $self->{blocks}{$_} } @hashes;
    die "not found: chain moved\n" if $chain[-1]{hash} ne $tip;
    return @chain;
}

# Takes a block in after comparing the own reading with the node's.
sub _keep {
    my ($self, $hash, $hex, $info) = @_;
    my $b = parse_block(pack 'H*', $hex);
    my @txids = map { $_->{txid} } @{ $b->{txs} };
    die "hash of block $hash differs" if $b->{hash} ne $hash;
    die "txids of block $hash differ" if "@txids" ne "@{ $info->{tx} }";
    $b->{levels} = tree_levels(map { internal($_) } @txids);
    die "Merkle root of block $hash differs"
        if display($b->{levels}[-1][0]) ne $info->{merkleroot};
    $b->{txids} = \@txids;
    $self->{blocks}{$hash} = $b;
    $self->{txs}{ $_->{txid} } //= $_ for @{ $b->{txs} };
}

# Tree over the headers 0 ... cp of this chain, kept by the hash of block cp.
sub _header_tree {
    my ($self, $chain, $cp) = @_;
    return $self->{cp}{ $chain->[$cp]{hash} } //= tree_levels(
        map { internal($_->{hash}) } @$chain[0 .. $cp]);
}

package ElectrumX::Model::Picture;

use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use ElectrumX::Tx qw(:all);

sub _sh { return $shash{ $_[0] } //= scripthash($_[0]) }

sub _hidden { return $_[0] =~ /\A(?:\x6a|\x00\x6a)/ }

# Fills the tables: where transactions stand, histories, unspent outputs.
sub _index {
    my ($self) = @_;
    @$self{qw(where hist poolhist out status)} = ({}, {}, {}, {}, {});
    my $order = 0;
    for my $h (0 .. $self->{height}) {
        my $pos = 0;
        for my $tx (@{ $self->{chain}[$h]{txs} }) {
            $self->{where}{ $tx->{txid} } = [$h, $pos];
            $self->_add_tx($tx, $h, $pos, $order++);
            $pos++;
        }
    }
    for my $txid ($self->mempool_txids) {
        $self->_add_outputs($self->{pool}{$txid}{tx}, undef, 0, $order++);
    }
    $self->_add_pool_tx($_) for $self->mempool_txids;
    return $self;
}

# Canonical order of the mempool: height 0 before -1, then txid as shown.
sub mempool_txids {
    my ($self) = @_;
    my $pool = $self->{pool};
    return @{ $self->{pool_order} //= [sort {
        $pool->{$b}{height} <=> $pool->{$a}{height} || $a cmp $b
    } keys %$pool] };
}

# Scripts (as script hashes) that a transaction spends from or pays to.
sub _touched {
    my ($self, $tx, $coinbase, $spent_by) = @_;
    my %sh;
    $self->{seen}{ _sh($_->{script}) } = 1 for @{ $tx->{vout} };
    for my $out (@{ $tx->{vout} }) {
        $sh{ _sh($out->{script}) } = 1 if !_hidden($out->{script});
    }
    return keys %sh if $coinbase;
    for my $in (@{ $tx->{vin} }) {
        my $coin = $self->{out}{"$in->{txid}:$in->{vout}"}
            or die "input $in->{txid}:$in->{vout} not found";
        $sh{ $coin->{sh} } = 1;
        $coin->{$spent_by} = $tx->{txid};
    }
    return keys %sh;
}

sub _add_tx {
    my ($self, $tx, $h, $pos, $order) = @_;
    if ($h == 0) {    # the coinbase of the genesis block is not indexed
        $self->{seen}{ _sh($tx->{vout}[0]{script}) } = 1;
        return;
    }
    my @touched = $self->_touched($tx, $pos == 0, 'spent');
    push @{ $self->{hist}{$_} }, [$h, $tx->{txid}] for @touched;
    $self->_add_outputs($tx, $h, $pos == 0, $order);
}

sub _add_outputs {
    my ($self, $tx, $h, $coinbase, $order) = @_;
    my $n = 0;
    for my $out (@{ $tx->{vout} }) {
        my $i = $n++;
        next if _hidden($out->{script});
        my $sh = _sh($out->{script});
        my $coin = { txid => $tx->{txid}, vout => $i, sh => $sh,
            value => $out->{value}, script => $out->{script},
            height => $h, coinbase => $coinbase, order => $order };
        $self->{out}{"$tx->{txid}:$i"} = $coin;
        push @{ $self->{coins}{$sh} }, $coin;
    }
}

sub _add_pool_tx {
    my ($self, $txid) = @_;
    my $e = $self->{pool}{$txid};
    my @touched = $self->_touched($e->{tx}, 0, 'spent_pool');
    my ($in, $out) = (0, 0);
    $in += $self->{out}{"$_->{txid}:$_->{vout}"}{value} for @{ $e->{tx}{vin} };
    $out += $_->{value} for @{ $e->{tx}{vout} };
    die "fee of $txid differs" if $in - $out != $e->{fee};
    push @{ $self->{poolhist}{$_} }, $txid for @touched;
}

# ---- answers ----------------------------------------------------------------

sub scripthashes { return sort keys %{ $_[0]{seen} } }

sub mempool {
    my ($self, $sh) = @_;
    return [map { { tx_hash => $_, height => $self->{pool}{$_}{height},
        fee => $self->{pool}{$_}{fee} } } @{ $self->{poolhist}{$sh} || [] }];
}

sub history {
    my ($self, $sh) = @_;
    return [(map { { height => $_->[0], tx_hash => $_->[1] } }
        @{ $self->{hist}{$sh} || [] }), @{ $self->mempool($sh) }];
}

sub status {
    my ($self, $sh) = @_;
    my $kept = $self->{status};
    $kept->{$sh} = status_of(@{ $self->history($sh) })
        if !exists $kept->{$sh};
    return $kept->{$sh};
}

# Status of a history as it was answered.
sub status_of {
    my @history = @_;
    return undef if !@history;
    return sha256_hex(
        join '', map {"$_->{tx_hash}:$_->{height}:"} @history);
}

# Confirmed in chain order, then those of the mempool sorted.
sub unspent {
    my ($self, $sh) = @_;
    my @coins = sort { $a->{order} <=> $b->{order} || $a->{vout} <=> $b->{vout} }
        grep { !$_->{spent} && !$_->{spent_pool} }
        @{ $self->{coins}{$sh} || [] };
    return [map { { tx_hash => $_->{txid}, tx_pos => $_->{vout},
        height => $_->{height} // 0, value => $_->{value} } } @coins];
}

sub balance {
    my ($self, $sh) = @_;
    my ($confirmed, $unconfirmed) = (0, 0);
    for my $c (@{ $self->{coins}{$sh} || [] }) {
        next if $c->{spent};
        $confirmed += $c->{value} if defined $c->{height};
        $unconfirmed += $c->{value} if !defined $c->{height};
        $unconfirmed -= $c->{value} if $c->{spent_pool};
    }
    return { confirmed => $confirmed, unconfirmed => $unconfirmed };
}

sub utxos {
    my ($self) = @_;
    return [sort { $a->{order} <=> $b->{order} || $a->{vout} <=> $b->{vout} }
        grep { !$_->{spent} && !$_->{spent_pool} } values %{ $self->{out} }];
}

sub header { return unpack 'H*', $_[0]{chain}[ $_[1] ]{header} }
sub txids  { return @{ $_[0]{chain}[ $_[1] ]{txids} } }

sub all_txids {
    my ($self) = @_;
    return map { @{ $_->{txids} } } @{ $self->{chain} };
}

sub has_tx {
    my ($self, $txid) = @_;
    return $self->{where}{$txid} || $self->{pool}{$txid} ? 1 : 0;
}

sub raw { return unpack 'H*', $_[0]{model}{txs}{ $_[1] }{raw} }

# Height and position in the chain; nothing for others.
sub where { return @{ $_[0]{where}{ $_[1] } || [] } }

sub _branch {
    my ($self, $h, $pos) = @_;
    return [map { display($_) }
        merkle_branch($self->{chain}[$h]{levels}, $pos)];
}

sub merkle {
    my ($self, $txid) = @_;
    my ($h, $pos) = $self->where($txid);
    return { block_height => $h, pos => $pos,
        merkle => $self->_branch($h, $pos) };
}

sub id_from_pos {
    my ($self, $h, $pos) = @_;
    return { tx_hash => $self->{chain}[$h]{txids}[$pos],
        merkle => $self->_branch($h, $pos) };
}

sub header_proof {
    my ($self, $h, $cp) = @_;
    my $tree = $self->{model}->_header_tree($self->{chain}, $cp);
    return { header => $self->header($h), root => display($tree->[-1][0]),
        branch => [map { display($_) } merkle_branch($tree, $h)] };
}

sub headers {
    my ($self, $start, $count, $cp, $version) = @_;
    my $max = 2016;
    $count = $max if $count > $max;
    my $last = $start + $count - 1;
    $last = $self->{height} if $last > $self->{height};
    my @h = map { $self->header($_) } $start .. $last;
    my %a = (count => scalar @h, max => $max);
    $version eq '1.6' ? ($a{headers} = \@h) : ($a{hex} = join '', @h);
    return \%a if !@h || !$cp;
    my $proof = $self->header_proof($last, $cp);
    return { %a, root => $proof->{root}, branch => $proof->{branch} };
}

1;
