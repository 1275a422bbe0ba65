package ElectrumX::FixedChain;

# A chain on regtest that is the same each time, byte for byte: times, scripts
# and nonces are fixed and the blocks are made here, not by the node.
#
#   my $chain = ElectrumX::FixedChain->new($t);   # starts the node
#   $chain->build;            # blocks 1 ... 110, two transactions unconfirmed
#   $chain->mine('child', 'other');    # one more block, of these transactions
#   $chain->send('other');             # into the mempool
#   $chain->{tx}{spread}      # by name: { hex, txid, vout }
#   $chain->{node}
#
# The transactions: spread (block 105), same and after (106, the second
# spends the first), parent and child (mempool), other (not sent).

use strict;
use warnings;
use ElectrumX::Node;
use ElectrumX::Tx qw(:all);

our $TIME = 1_600_000_000;    # of block 0 of the count below
my $BITS = 0x207fffff;
my $SUBSIDY = 50_0000_0000;

sub new {
    my ($class, $t) = @_;
    my $node = ElectrumX::Node->start($t,
        args => ['-mocktime=' . ($TIME + 600 * 112)]);
    my $self = bless { node => $node, t => $t, tx => {}, txids => [] }, $class;
    $self->{prev} = $node->tip;
    $self->{height} = 0;
    return $self;
}

# Anyone can spend it; $n tells them apart.
sub drop { return op_push("fixed $_[0]") . "\x75\x51" }

sub build {
    my ($self) = @_;
    $self->mine for 1 .. 104;
    $self->_transactions;
    $self->mine('spread');
    $self->mine('same', 'after');
    $self->mine for 107 .. 110;
    $self->send($_) for qw(parent child);
}

sub _transactions {
    my ($self) = @_;
    my $rest = $SUBSIDY - 1_0000_0000 - 5000_0000 - 2500_0000 - 1000;
    $self->_make('spread', [$self->{coinbase}[1], 0],
        [drop(50), 1_0000_0000],
        [witness_program(0, "\x11" x 20), 5000_0000],
        [witness_program(1, "\x22" x 32), 2500_0000],
        [op_return('fixed'), 0], [drop(51), $rest]);
    $self->_make('same', ['spread', 0], [drop(52), 6000_0000],
        [drop(50), 3999_9000]);
    $self->_make('after', ['same', 0], [drop(50), 5999_9000]);
    $self->_make('parent', ['spread', 4], [drop(53), 1_0000_0000],
        [drop(50), $rest - 1_0000_0000 - 2000]);
    $self->_make('child', ['parent', 0], [drop(50), 9999_7000]);
    $self->_make('other', [$self->{coinbase}[2], 0], [drop(54),
        $SUBSIDY - 4000]);
}

# $in: [name of a transaction or a txid, output].
sub _make {
    my ($self, $name, $in, @out) = @_;
    my ($from, $n) = @$in;
    $from = $self->{tx}{$from}{txid} if $self->{tx}{$from};
    my $raw = build_tx(vin => [{ txid => $from, vout => $n }],
        vout => [map { { script => $_->[0], value => $_->[1] } } @out]);
    $self->{tx}{$name} = { hex => unpack('H*', $raw), raw => $raw,
        txid => txid_of($raw), vout => \@out };
}

sub send {
    my ($self, $name) = @_;
    $self->{node}->send($self->{tx}{$name}{hex});
}

# BIP 34, and one byte more as a script of one byte is too short.
sub _coinbase {
    my ($self, $height) = @_;
    my $push = $height <= 16 ? chr(0x50 + $height)
        : $height < 128 ? "\x01" . chr $height : "\x02" . pack 'v', $height;
    return build_tx(vin => [{ txid => '0' x 64, vout => 0xffffffff,
        sequence => 0xffffffff, script => "$push\x00" }],
        vout => [{ value => $SUBSIDY, script => drop($height % 7) }]);
}

sub mine {
    my ($self, @names) = @_;
    my $height = ++$self->{height};
    my $coinbase = $self->_coinbase($height);
    $self->{coinbase}[$height] = txid_of($coinbase);
    my @raw = ($coinbase, map { $self->{tx}{$_}{raw} } @names);
    my $root = merkle_root(map { internal(txid_of($_)) } @raw);
    my $head = pack('V', 0x20000000) . internal($self->{prev}) . $root
        . pack 'VV', $TIME + 600 * $height, $BITS;
    my $nonce = 0;
    $nonce++ while ord(substr sha256d($head . pack 'V', $nonce), 31) > 0x7f;
    $head .= pack 'V', $nonce;
    my $error = $self->{node}->rpc('submitblock', unpack 'H*',
        $head . chr(@raw) . join '', @raw);
    die "block $height: $error\n" if defined $error;
    $self->{prev} = display(sha256d($head));
}

1;
