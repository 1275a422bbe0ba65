package ElectrumX::Ledger;

# What chosen scripts have at each tip, of long chains with many tips: the
# cheap sister of ElectrumX::Model, from the node's blocks alone.
#
#   my $l = ElectrumX::Ledger->new($node, [$script, ...]);
#   $l->follow($hash);            # reads it and what it stands on; its block
#   my $b = $l->{block}{$hash};   # { hash, height, prev, header (hex), txids }
#   $l->at($hash, $height);       # the ancestor of that height
#   my $has = $l->has($hash, $scripthash);    # undef: tip too old, else
#       # { hist => '100:TXID 101:TXID ', balance => 5, coins =>
#       #   { 'TXID:0' => 'HEIGHT:VALUE' } }   confirmed only, never changed
#   $l->id_from_pos($block, $pos);            # as the protocol has it
#   my $pool = $l->pool;          # the mempool's part: { $scripthash => [{
#                                 # tx_hash, height, fee, delta }] }, in order
#
# A block holds a reference to what each script has, shared with its parent
# where it did not change; of blocks that lie $KEEP below the highest it is
# forgotten.

use strict;
use warnings;
use ElectrumX::Node;
use ElectrumX::Tx qw(:all);

our $KEEP = 400;

sub new {
    my ($class, $node, $scripts) = @_;
    my %watch = map { $_ => scripthash($_) } @$scripts;
    return bless { node => $node, watch => \%watch, block => {}, coin => {},
        order => [], top => 0 }, $class;
}

sub scripthashes { return sort values %{ $_[0]{watch} } }

sub follow {
    my ($self, $hash) = @_;
    my @new;
    for (my $h = $hash; !$self->{block}{$h};) {
        my $b = parse_block($self->{node}->block($h));
        die "block $h has the hash $b->{hash}" if $b->{hash} ne $h;
        push @new, $b;
        $h = $b->{prev};
        last if $h =~ /^0+$/;
        $self->_many(\@new) if @new > 50;
    }
    $self->_add($_) for reverse @new;
    return $self->{block}{$hash};
}

# A long way down: from the genesis block on instead, a block at a time.
sub _many {
    my ($self, $new) = @_;
    return if %{ $self->{block} };
    my $node = $self->{node};
    my $height = $node->rpc('getblockheader', $new->[-1]{hash})->{height};
    my @hashes = $node->rpc_batch(map { ['getblockhash', $_] } 0 .. $height - 1);
    $self->_add(parse_block($node->block($_))) for @hashes;
}

sub _add {
    my ($self, $b) = @_;
    my $parent = $self->{block}{ $b->{prev} };
    my $height = $parent ? $parent->{height} + 1 : 0;
    my @txids = map { $_->{txid} } @{ $b->{txs} };
    die "Merkle root of $b->{hash} differs" if $b->{merkle_root} ne
        display(merkle_root(map { internal($_) } @txids));
    $self->{block}{ $b->{hash} } = { hash => $b->{hash}, prev => $b->{prev},
        height => $height, header => unpack('H*', $b->{header}),
        txids => \@txids, has => $self->_apply($b->{txs}, $height,
            !$parent ? {} : $parent->{has}
                // die "block $b->{prev} is too old\n") };
    $self->{top} = $height if $height > $self->{top};
    push @{ $self->{order} }, $b->{hash};
    while ($self->{block}{ $self->{order}[0] }{height} < $self->{top} - $KEEP) {
        delete $self->{block}{ shift @{ $self->{order} } }{has};
    }
}

sub _apply {
    my ($self, $txs, $height, $before) = @_;
    my (%new, %all);
    for my $tx ($height ? @$txs : ()) {
        my %touched;
        my $own = sub {
            my ($sh) = @_;
            my $old = $before->{$sh} || { hist => '', balance => 0, coins => {} };
            $touched{$sh} = $new{$sh} //= { %$old, coins => { %{ $old->{coins} } } };
        };
        for my $in (@{ $tx->{vin} }) {
            my $at = "$in->{txid}:$in->{vout}";
            my $coin = $self->{coin}{$at} or next;
            my $has = $own->($coin->[0]);
            delete $has->{coins}{$at} // die "spent twice: $at";
            $has->{balance} -= $coin->[1];
        }
        $self->_outputs($tx, sub {
            my ($sh, $at, $value) = @_;
            my $has = $own->($sh);
            $has->{coins}{$at} = "$height:$value";
            $has->{balance} += $value;
        });
        $_->{hist} .= "$height:$tx->{txid} " for values %touched;
    }
    return $before if !%new;
    %all = (%$before, %new);
    return \%all;
}

sub _outputs {
    my ($self, $tx, $each) = @_;
    my $n = -1;
    for my $out (@{ $tx->{vout} }) {
        $n++;
        my $sh = $self->{watch}{ $out->{script} } // next;
        my $at = "$tx->{txid}:$n";
        $self->{coin}{$at} = [$sh, $out->{value}];
        $each->($sh, $at, $out->{value});
    }
}

sub at {
    my ($self, $hash, $height) = @_;
    my $b = $self->{block}{$hash};
    return undef if $height > $b->{height};
    $b = $self->{block}{ $b->{prev} } while $b->{height} > $height;
    return $b;
}

my $NOTHING = { hist => '', balance => 0, coins => {} };

sub has {
    my ($self, $hash, $sh) = @_;
    my $all = $self->{block}{$hash}{has} // return undef;
    return $all->{$sh} || $NOTHING;
}

sub id_from_pos {
    my ($self, $b, $pos) = @_;
    $b->{levels} //= tree_levels(map { internal($_) } @{ $b->{txids} });
    return { tx_hash => $b->{txids}[$pos],
        merkle => [map { display($_) } merkle_branch($b->{levels}, $pos)] };
}

# ---- the mempool ------------------------------------------------------------

# delta: what the transaction adds to the script's unconfirmed balance.
sub pool {
    my ($self) = @_;
    my $node = $self->{node};
    my $list = $node->rpc('getrawmempool', ElectrumX::Node::TRUE);
    my @txids = sort keys %$list;
    my @raw = $node->rpc_batch(map { ['getrawtransaction', $_] } @txids);
    my (%tx, %delta, %pool);
    for my $i (0 .. $#txids) {
        my $tx = $tx{ $txids[$i] } = parse_tx(pack 'H*', $raw[$i]);
        $self->_outputs($tx, sub { $delta{ $tx->{txid} }{ $_[0] } += $_[2] });
    }
    for my $tx (values %tx) {
        for my $in (@{ $tx->{vin} }) {
            my $coin = $self->{coin}{"$in->{txid}:$in->{vout}"} or next;
            $delta{ $tx->{txid} }{ $coin->[0] } -= $coin->[1];
        }
    }
    for my $txid (@txids) {
        my $open = grep { $list->{ $_->{txid} } } @{ $tx{$txid}{vin} };
        my $fee = 0 + sprintf '%.0f', $list->{$txid}{fees}{base} * 1e8;
        push @{ $pool{$_} }, { tx_hash => $txid, height => $open ? -1 : 0,
            fee => $fee, delta => $delta{$txid}{$_} }
            for keys %{ $delta{$txid} };
    }
    @$_ = sort { $b->{height} <=> $a->{height}
            || $a->{tx_hash} cmp $b->{tx_hash} } @$_ for values %pool;
    return \%pool;
}

1;
