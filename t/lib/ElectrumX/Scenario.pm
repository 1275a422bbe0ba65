package ElectrumX::Scenario;

# The usual set-up of a whole-system test: node, coins, model, indexer, nginx.
#
#   my $s = ElectrumX::Scenario->new($t, seed => 3, free_only => 0,
#       node => { args => [...] });      # node, coins and model
#   $s->{node} $s->{coins} $s->{model}
#   $s->base;               # first blocks: every kind, 110 blocks to spend from
#   $s->grow($n, max => 8); # $n blocks of 0 ... max random transactions
#   $s->heavy($n);          # $n transactions of one script, in two blocks
#   $s->fill_mempool($n);   # random transactions, chains of unconfirmed ones
#   $s->every_kind;         # a block with outputs of every kind of script
#   $s->replace($n);        # pays more for $n transactions of the mempool
#   $s->packages($n);       # $n pairs, submitted as packages
#                           # (the last two return how many succeeded)
#   $s->serve(indexer => {...}, nginx => {...});   # start both, wait for ready
#   my $p = $s->settled($client, $extra);  # the picture, once it is served

use strict;
use warnings;
use ElectrumX::Coins;
use ElectrumX::Compare;
use ElectrumX::Model;
use ElectrumX::Node;

sub new {
    my ($class, $t, %o) = @_;
    my $self = bless { t => $t }, $class;
    $self->{seed} = $ENV{TEST_SEED} // $o{seed} // 1 + int rand 1e6;
    Test::More::note("TEST_SEED=$self->{seed}");
    $self->{node} = ElectrumX::Node->start($t, %{ $o{node} || {} });
    $self->{coins} = ElectrumX::Coins->new($self->{node},
        seed => $self->{seed}, free_only => $o{free_only});
    $self->{model} = ElectrumX::Model->new($self->{node});
    return $self;
}

sub rescan {
    my ($self) = @_;
    my $p = $self->{model}->picture;
    $self->{coins}->rescan($p);
    return $p;
}

sub base {
    my ($self) = @_;
    my $coins = $self->{coins};
    my @kinds = grep { $_ ne 'empty' } $coins->kinds, qw(opreturn opreturn0);
    for my $i (0, 1) {
        $coins->mine_to($_, $i) for @kinds;
    }
    $self->{node}->generate(105);
    $self->rescan;
}

sub grow {
    my ($self, $n, %o) = @_;
    my $max = $o{max} // 8;
    $self->rescan;
    for my $i (1 .. $n) {
        $self->{coins}->mine($o{exactly} // int rand $max + 1, %o);
        $self->rescan if $i % 40 == 0;
    }
    $self->rescan;
}

# More entries of one script in one block than fit into a row of the index.
sub heavy {
    my ($self, $n) = @_;
    my ($coins, $node) = @$self{qw(coins node)};
    my $coin = $coins->take(coinbase => 1, kind => 'true', min => $n * 3000)
        or die 'no coin';
    my $each = int($coin->{value} / ($n + 1));
    my $true = $coins->script('true');
    my $fan = $coins->make([$coin], [map { [$true, $each] } 1 .. $n]);
    my @txs = map { $coins->make([$_], [[$true, $each - 1000]]) }
        @{ $fan->{coins} };
    my @half = splice @txs, 0, int($n / 2);
    $node->generate_block([$fan->{hex}, map { $_->{hex} } @half]);
    $node->generate_block([map { $_->{hex} } @txs]);
    $self->rescan;
}

sub fill_mempool {
    my ($self, $n) = @_;
    my ($coins, $node) = @$self{qw(coins node)};
    my $sent = 0;
    $self->rescan;
    for (1 .. $n) {
        my $tx = $coins->random(standard => 1) or last;
        my ($txid, $error) = $node->try('sendrawtransaction', $tx->{hex}, 0,
            '21000000');
        $sent++ if $txid;
        $self->rescan if $error;
    }
    $node->send($_->{hex}) for $coins->chain(25, standard => 1);
    $node->send($_->{hex}) for $coins->chain(5, standard => 1,
        script => $coins->script('p2wpkh', 0));
    $self->rescan;
    return $sent;
}

sub every_kind {
    my ($self) = @_;
    my ($coins, $node) = @$self{qw(coins node)};
    $self->rescan;
    my @kinds = ($coins->kinds, @ElectrumX::Coins::UNSPENDABLE);
    my $coin = $coins->take(kind => 'true', min => 2000 * @kinds)
        or die 'no coin';
    my $rest = $coin->{value} - 1000 * @kinds - 100_000;
    my $tx = $coins->make([$coin], [(map { [$coins->script($_), 1000] }
        @kinds), [$coins->script('true'), $rest]]);
    $node->generate_block([$tx->{hex}]);
    $self->rescan;
    return @kinds;
}

# Those that nothing in the mempool spends, with all inputs confirmed.
sub replace {
    my ($self, $n) = @_;
    my ($coins, $node) = @$self{qw(coins node)};
    my $p = $self->rescan;
    my ($done, %parent) = (0);
    for my $e (values %{ $p->{pool} }) {
        $parent{ $_->{txid} } = 1 for @{ $e->{tx}{vin} };
    }
    for my $txid (sort keys %{ $p->{pool} }) {
        last if $done == $n;
        my $e = $p->{pool}{$txid};
        next if $parent{$txid} || $e->{height};
        my @in = map { my $c = $p->{out}{"$_->{txid}:$_->{vout}"};
            +{ %$c, %{ $coins->{kind}{ $c->{script} } || {} } }
        } @{ $e->{tx}{vin} };
        my $sum = -$e->{fee} - 20_000;
        $sum += $_->{value} for @in;
        next if $sum < 10_000 || grep { !$_->{kind} } @in;
        my $tx = $coins->make(\@in, [[$coins->script('drop'), $sum]]);
        my ($ok) = $node->try('sendrawtransaction', $tx->{hex}, 0, '21000000');
        $done++ if $ok;
    }
    return $done;
}

# The first of each pair pays next to nothing.
sub packages {
    my ($self, $n) = @_;
    my ($coins, $node) = @$self{qw(coins node)};
    $self->rescan;
    my $done = 0;
    for (1 .. $n) {
        my $coin = $coins->take(confirmed => 1, standard => 1, no_pool => 1,
            min => 100_000) or last;
        my $parent = $coins->make([$coin],
            [[$coins->script('drop'), $coin->{value} - 200]]);
        my $child = $coins->make($parent->{coins},
            [[$coins->script('wshtrue'), $coin->{value} - 50_000]]);
        my ($r) = $node->try('submitpackage', [$parent->{hex}, $child->{hex}]);
        $done++ if $r && $r->{package_msg} eq 'success';
    }
    $self->rescan;
    return $done;
}

sub serve {
    my ($self, %o) = @_;
    my $t = $self->{t};
    $t->start_indexer($self->{node}->indexer_conf, %{ $o{indexer} || {} });
    $t->wait_ready($self->{node}->height, $o{timeout} // 60);
    $t->start_nginx(%{ $o{nginx} || {} }) if !$o{no_nginx};
}

sub settled {
    my ($self, $client, $extra) = @_;
    my $p = $self->{model}->picture;
    ElectrumX::Compare::wait_same($self->{t}, $client, $p, 20, $extra);
    return $p;
}

1;
