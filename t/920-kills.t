#!/usr/bin/perl

# Random SIGKILLs of the indexer and of nginx's workers during traffic, on a
# chain of 200,000 transactions: blocks, reorganisations (some below the settled
# blocks), double spends, a changing mempool, settling, tidying.  Questions are
# under way at each kill.  Each batch of answers names the tip it was made at and
# must be the truth for that tip, as the node's blocks have it; now and then all
# stands still and the mempool is compared, too.  At the end the index is equal
# to one that was made without a kill.
#
# KILLS=n kills in all (default 1000), TXS=n transactions of the first chain,
# DEEP=n kills between two reorganisations deeper than the window.

use lib 't/lib';
use Digest::SHA qw(sha256_hex);
use ElectrumX::Ledger;
use ElectrumX::Node;
use ElectrumX::Test;
use ElectrumX::Tx qw(build_tx op_push scripthash sha256d txid_of);
use JSON::PP ();
use Time::HiRes qw(sleep time);

my $KILLS = $ENV{KILLS} || 1000;
my $TXS = $ENV{TXS} || 200_000;
my $DEEP = $ENV{DEEP} || 250;
my $PER_BLOCK = 100;
my $SETTLE = 4;
my $WINDOW = 100;
my $QUIET = 50;       # kills between two comparisons of everything
my $JSON = JSON::PP->new->canonical->allow_nonref;
my $S = 'blockchain.scripthash';
my $T = 'blockchain.transaction';

my $seed = $ENV{TEST_SEED} // 1 + int rand 1e6;
note "TEST_SEED=$seed";
srand $seed;
my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls bench)]);
my $chain = $t->path('chain');
my $node = first_chain();
my @own = map { op_push("kills $_") . "\x75\x51" } 1 .. 60;
my (%spendable, %script);    # scripts by hex, and by scripthash
my $ledger = ElectrumX::Ledger->new($node, [@own, samples()]);
my @scripts = $ledger->scripthashes;
my $now = $ledger->follow($node->tip);
my $base = $now->{height} - 150;    # never undone
my @fixed = base_blocks();
my (@coins, @spare, @recent, %pool_spent, %client, %alive);
my %n = map { $_ => 0 } qw(answers batches dropped errors kills unknown wrong
    unique blocks transactions reorgs twice deep both quiet workers);
my %time;

my %conf = ($node->indexer_conf, live_window => $WINDOW,
    settle_batch => $SETTLE, spender => 'on',
    blocks_dir => "$node->{dir}/regtest/blocks");
$t->start_indexer(%conf);
$t->wait_ready($node->height, 300);
$t->start_nginx(workers => 2,
    map { $_ . '_listen' => 'reuseport' } qw(tcp tls ws wss));
$t->allow_alert(qr/worker process \d+ exited on signal 9/);

my $begin = time;
for my $round (1 .. 100 * $KILLS) {
    last if $n{kills} >= $KILLS;
    my $before = $n{kills};
    act();
    my $sent = send_questions();
    sleep rand 0.03;
    my $indexer = kill_some();
    take_answers($sent);
    ask() for 1 .. 1 + int rand 2;
    restart_indexer() if $indexer;
    quiet() if int($n{kills} / $QUIET) > int($before / $QUIET);
    deep() if int($n{kills} / $DEEP) > int($before / $DEEP);
}
note sprintf '%.0f s', time - $begin;
ok($t->wait_ready($node->height, 60), 'ready after the last kill');
quiet();
report();
cmp_ok($n{kills}, '>=', $KILLS, "$n{kills} kills");
cmp_ok($n{answers}, '>', 5 * $KILLS, "$n{answers} answers");
is($n{wrong}, 0, 'wrong answers');
is($n{errors}, 0, 'errors');
is($n{unknown}, 0, 'tips that never were');
whole();
$t->done;

# ---- the first chain --------------------------------------------------------

sub first_chain {
    my $build = $t->build;
    my ($out, $status) = ElectrumX::Proc->run(timeout => 600, cmd => [
        "$build/bench/chaingen", '--out', $chain, '--blocks',
        int($TXS / $PER_BLOCK), '--txs-per-block', $PER_BLOCK, '--growth', 0.5,
        '--seed', $seed, '--end-time', 1_700_000_000, '--samples', 200,
        '--dump-utxos', 20_000]);
    is($status, 0, "a chain of $TXS transactions") or diag $out;
    my $side = $JSON->decode($t->read_file("$chain.json"));
    my $x = ElectrumX::Node->start($t, args => ['-maxtipage=2000000000',
        '-checkblockindex=0', "-assumevalid=$side->{tip}", '-disablewallet=1',
        "-loadblock=$chain"]);
    $t->wait_for(sub { $x->height >= $side->{height} }, 900,
        'the node loads the chain');
    unlink $chain;
    return $x;
}

sub table {
    my ($name) = @_;
    return map { [split /\t/] } grep { !/^#/ }
        split /\n/, $t->read_file("$chain.$name.tsv");
}

# Scripts of the first chain that are asked for.
sub samples {
    my %want = (1 => 60, 2 => 20, 10 => 80, 100 => 40, '10-utxos' => 20,
        1000 => 1);
    my @found;
    for my $row (table('samples')) {
        next if !$want{ $row->[0] };
        $want{ $row->[0] }--;
        push @found, pack 'H*', $row->[6];
    }
    return @found;
}

sub base_blocks {
    my @list;
    for (my $b = $ledger->at($now->{hash}, $base); $b;) {
        unshift @list, $b;
        $b = $ledger->{block}{ $b->{prev} };
    }
    return @list;
}

sub ancestor {
    my ($tip, $height) = @_;
    return $height <= $base ? $fixed[$height] : $ledger->at($tip, $height);
}

# ---- what happens to the chain ----------------------------------------------

# Those that are there and unspent, for the mempool, too.
sub unspent {
    my @there = $node->rpc_batch(map { ['gettxout', $_->{txid}, $_->{vout}] } @_);
    return map { $_[$_] } grep { $there[$_] } 0 .. $#_;
}

# Outputs of the first chain that need no key.
sub refill {
    @spare = map { { txid => $_->[0], vout => 0 + $_->[1], value => 0 + $_->[2] } }
        grep { $_->[3] eq 'bare' } table('utxos') if !@spare;
    push @coins, unspent(splice @spare, 0, 300) while @spare && @coins < 20;
    die "no coins\n" if @coins < 20;
}

# Two outputs of our own, that share what there is, and small ones.
sub make {
    my ($in, @to) = @_;
    my $sum = -800 - 700 * @to;
    $sum += $_->{value} for @$in;
    return undef if $sum < 2000;
    my @own = map { $own[rand @own] } 1, 2;
    my $raw = build_tx(vin => $in, vout => [
        map({ { script => $_, value => int $sum / 2 } } @own),
        map { { script => $_, value => 600 } } @to]);
    my $txid = txid_of($raw);
    return { hex => unpack('H*', $raw), in => $in,
        coins => [map { { txid => $txid, vout => $_, value => int $sum / 2 } } 0, 1] };
}

sub random_tx {
    my ($most) = @_;
    refill() if @coins < 20;
    my @in = map { splice @coins, rand @coins, 1 } 1 .. 1 + int rand 3;
    my @all = keys %{ $ledger->{watch} };
    return make(\@in, map { $all[rand @all] }
        1 .. (rand() < 0.1 ? $most : int rand 4));
}

# Those that are refused give their inputs back to nobody.
sub traffic {
    my @tx = grep {defined} map { random_tx(60) } 1 .. $_[0];
    for my $tx (@tx) {
        my ($txid) = $node->try('sendrawtransaction', $tx->{hex}, 0,
            '21000000');
        next if !$txid;
        $n{transactions}++;
        $pool_spent{"$_->{txid}:$_->{vout}"} = 1 for @{ $tx->{in} };
        push @coins, @{ $tx->{coins} };
        push @recent, $tx;
    }
    splice @recent, 0, @recent - 10 if @recent > 10;
}

sub look { return $now = $ledger->follow($node->tip) }

sub new_blocks {
    my ($n) = @_;
    my @hashes = $node->generate($n, $node->raw_descriptor($own[rand @own]));
    $ledger->follow($_) for @hashes;
    $n{blocks} += @hashes;
}

# The new branch has other transactions; if it can be, one spends what one of the
# old branch does.
sub reorganise {
    my ($depth) = @_;
    my @twice = twice();
    $node->rpc('invalidateblock', $node->hash_at($node->height - $depth + 1));
    $ledger->follow($node->tip);
    for my $i (0 .. $depth) {
        my $script = op_push('branch ' . $n{unique}++) . "\x75\x51";
        my $to = $node->raw_descriptor($script);
        my $hash = !$i && @twice && eval { $node->generate_block(\@twice, $to) };
        $n{twice}++ if $hash;
        $hash ||= $node->generate_block([], $to);
        $ledger->follow($hash);
        $n{blocks}++;
    }
    $n{reorgs}++;
}

sub twice {
    my $old = $recent[rand @recent] // return;
    my $tx = make($old->{in}) // return;
    return $tx->{hex};
}

sub act {
    my $dice = rand;
    traffic(1 + int rand 5);
    reorganise(1 + int rand(rand() < 0.2 ? 12 : 3)) if $dice < 0.12;
    new_blocks(1 + int rand 4) if $dice >= 0.12 && $dice < 0.9;
    traffic(int rand 4);
    look();
}

# Below what is settled: the index falls back to an older generation.
sub deep {
    my $settled = $t->wait_ready($node->height, 60)->{settled_height};
    note "a reorganisation of ", $node->height - $settled + 6, ' blocks';
    traffic(5);
    reorganise($node->height - $settled + 6);
    look();
    sleep rand 1;
    kill_indexer();
    restart_indexer(sure => 1);
    $n{deep}++;
    @coins = unspent(@coins);
    quiet();
}

# ---- questions --------------------------------------------------------------

sub client {
    my ($kind) = @_;
    for (1 .. 200) {
        my $c = $client{$kind} //= eval {
            my $c = $t->client($kind, timeout => 30);
            $c->version('1.6');
            $alive{$kind} = $n{workers};
            $c;
        };
        return $c if $c;
        sleep 0.05;
    }
    die "no connection: $@";
}

sub history_of {
    return join '', map {"$_->{height}:$_->{tx_hash} "}
        grep { $_->{height} > 0 } @{ $_[0] };
}

# Confirmed outputs that no transaction of the mempool ever spent are there, and
# no other ones.
sub coins_differ {
    my ($got, $has) = @_;
    my %got = map { ("$_->{tx_hash}:$_->{tx_pos}" => "$_->{height}:$_->{value}") }
        grep { $_->{height} > 0 } @$got;
    my @bad = grep { ($has->{coins}{$_} // '') ne $got{$_} } keys %got;
    push @bad, grep { !$got{$_} && !$pool_spent{$_} } keys %{ $has->{coins} };
    return @bad;
}

# Each: the call, what tells whether the result is that of a tip, and for which
# tips there is a result at all.

sub ask_history {
    my ($sh) = @_;
    return ["$S.get_history", $sh], sub {
        my ($got, $tip) = @_;
        return history_of($got) eq $ledger->has($tip, $sh)->{hist};
    };
}

sub ask_balance {
    my ($sh) = @_;
    return ["$S.get_balance", $sh], sub {
        my ($got, $tip) = @_;
        return $got->{confirmed} == $ledger->has($tip, $sh)->{balance};
    };
}

sub ask_unspent {
    my ($sh) = @_;
    return ["$S.listunspent", $sh], sub {
        my ($got, $tip) = @_;
        return !coins_differ($got, $ledger->has($tip, $sh));
    };
}

sub ask_header {
    my $h = int rand $now->{height} - 14;
    return ['blockchain.block.header', $h],
        sub { $_[0] eq ancestor($_[1], $h)->{header} };
}

sub ask_position {
    my $h = 1 + int rand $now->{height} - 14;
    my $pos = int rand @{ ancestor($now->{hash}, $h)->{txids} };
    return ["$T.id_from_pos", $h, $pos, JSON::PP::true()], sub {
        my ($got, $tip) = @_;
        my $b = ancestor($tip, $h);
        return $JSON->encode($got)
            eq $JSON->encode($ledger->id_from_pos($b, $pos));
    }, sub { defined ancestor($_[0], $h)->{txids}[$pos] };
}

# Of a live block; a coinbase has a witness.
sub ask_transaction {
    my $b = ancestor($now->{hash}, $now->{height} - 14 - int rand 50);
    my $pos = int rand @{ $b->{txids} };
    my $txid = $b->{txids}[$pos];
    my $only = sub { ancestor($_[0], $b->{height}) == $b };
    return ["$T.get_merkle", $txid, $b->{height}], sub {
        my ($got) = @_;
        my $want = $ledger->id_from_pos($b, $pos);
        return $got->{pos} == $pos && $got->{block_height} == $b->{height}
            && "@{ $got->{merkle} }" eq "@{ $want->{merkle} }";
    }, $only if rand() < 0.5 || $pos == 0 || $b->{height} <= $base + 150;
    return ["$T.get", $txid], sub {
        return unpack('H*', scalar reverse sha256d(pack 'H*', $_[0])) eq $txid;
    }, $only;
}

sub question {
    my $i = int rand 9;
    my $ask = $i < 2 ? \&ask_history : $i < 4 ? \&ask_balance
        : $i < 6 ? \&ask_unspent : $i < 7 ? \&ask_header
        : $i < 8 ? \&ask_position : \&ask_transaction;
    my ($call, $check, $only) = $ask->($scripts[rand @scripts]);
    return { call => $call, check => $check, only => $only };
}

sub send_question {
    my ($kind) = @_;
    my $c = client($kind);
    my @q = map { question() } 1 .. 8;
    my $ids = eval { $c->send_batch(['blockchain.headers.get_tip'],
            map { $_->{call} } @q) };
    return { kind => $kind, q => \@q, ids => $ids, client => $c,
        workers => $n{workers} };
}

sub send_questions { return [map { send_question($_) } qw(tcp tls ws)] }

sub take_answers {
    my ($sent) = @_;
    for my $x (@$sent) {
        my $answers = $x->{ids} && eval { $x->{client}->batch_answers($x->{ids}) };
        if (!$answers) {
            dropped($x->{kind}, $@);
            next;
        }
        $alive{ $x->{kind} } = $x->{workers};
        $n{batches}++;
        my $tip = shift @$answers;
        if ($tip->{error}) {
            diag $JSON->encode($tip->{error}) if $n{errors}++ < 5;
            next;
        }
        my $hash = unpack 'H*', reverse sha256d(
            substr pack('H*', $tip->{result}{hex}), 0, 80);
        if (!$ledger->{block}{$hash} || !$ledger->{block}{$hash}{has}) {
            diag "tip $hash at $tip->{result}{height}" if $n{unknown}++ < 5;
            next;
        }
        judge($hash, $x->{q}[$_], $answers->[$_]) for 0 .. $#{ $x->{q} };
    }
}

# Only the death of a worker since it last answered may end a connection.
sub dropped {
    my ($kind, $why) = @_;
    delete $client{$kind};
    if ($alive{$kind} < $n{workers}) {
        $n{dropped}++;
    }
    else {
        diag "$kind: no answer: ", ref $why ? $why->{message} : $why
            if $n{errors}++ < 5;
    }
}

sub judge {
    my ($tip, $q, $answer) = @_;
    return if $q->{only} && !$q->{only}->($tip);
    $n{answers}++;
    return if !$answer->{error} && $q->{check}->($answer->{result}, $tip);
    my $text = $JSON->encode($answer->{error} // $answer->{result});
    diag 'wrong: ' . $JSON->encode($q->{call}) . " at $tip\n got "
        . substr $text, 0, 2000 if $n{wrong}++ < 5;
}

sub ask { take_answers([send_question((qw(tcp ws tls))[rand 3])]) }

# Answers, or nothing if the worker is gone.
sub pipeline {
    my (@calls) = @_;
    my $c = client('tcp');
    my @answers = eval { $c->pipeline(@calls) };
    @answers ? $alive{tcp} = $n{workers} : dropped('tcp', $@);
    return @answers;
}

# Nothing happens meanwhile: histories, balances and statuses with the mempool.
sub quiet {
    my $height = $node->height;
    $t->wait_ready($height, 60);
    my $pool = $ledger->pool;
    look();
    my @sample = map { $scripts[rand @scripts] } 1 .. 60;
    push @sample, grep { rand() < 0.3 } sort keys %$pool;
    my $left = "nothing asked";
    my $same = eval { $t->wait_for(sub {
        ($left) = grep { !same($_, $pool) } @sample;
        return !$left;
    }, 30, 'the mempool') };
    ok($same, "all is as the node has it after $n{kills} kills")
        or diag "$left at $now->{hash}: ", $JSON->encode(
            pipeline(["$S.get_history", $left])),
            "\nwant ", $ledger->has($now->{hash}, $left)->{hist},
            $JSON->encode($pool->{$left});
    $n{quiet}++;
    report();
}

sub same {
    my ($sh, $pool) = @_;
    my $has = $ledger->has($now->{hash}, $sh);
    my $mine = $pool->{$sh} || [];
    my ($history, $balance, $status) = pipeline(
        map { ["$S.$_", $sh] } qw(get_history get_balance subscribe));
    return 0 if !$history;
    my $text = $has->{hist}
        . join '', map {"$_->{height}:$_->{tx_hash} "} @$mine;
    my $fees = join ' ', map { $_->{fee} } @$mine;
    my $delta = 0;
    $delta += $_->{delta} for @$mine;
    my @got = @{ $history->{result} };
    my $line = join '', map {"$_->[1]:$_->[0]:"}
        map { [split /:/] } split / /, $text;
    return $text eq join('', map {"$_->{height}:$_->{tx_hash} "} @got)
        && $fees eq join(' ', map { $_->{fee} // () } @got)
        && $balance->{result}{confirmed} == $has->{balance}
        && $balance->{result}{unconfirmed} == $delta
        && ($status->{result} // '') eq ($line eq '' ? '' : sha256_hex($line));
}

# ---- kills ------------------------------------------------------------------

# True if the indexer was among those killed.
sub kill_some {
    my $dice = rand;
    kill_worker() if $dice < 0.35;
    return 0 if $dice < 0.3;
    $n{both}++ if $dice < 0.35;
    kill_indexer();
    return 1;
}

# Sometimes while a generation is being made.
sub kill_indexer {
    my $end = time + (rand() < 0.3 ? 0.5 : rand 0.1);
    my $patient = $end - time > 0.3;
    my $data = $t->data;
    until (time > $end) {
        if ($patient && glob "$data/generations/*.tmp") {
            $n{publishing}++;
            last;
        }
        sleep 0.002;
    }
    $t->kill_indexer;
    $n{kills}++;
}

sub start_indexer {
    my $from = time;
    $t->start_indexer(%conf);
    return $from;
}

# Three of ten are killed again before they are ready; three more before the
# test has seen that they are.
sub restart_indexer {
    my (%o) = @_;
    my $from = start_indexer();
    while (rand() < 0.3 && !$o{sure} && $n{kills} < $KILLS) {
        sleep rand 0.4;
        kill_indexer();
        $from = start_indexer();
    }
    ask() if rand() < 0.5;
    return if rand() < 0.2 && !$o{sure};
    my $height = $node->height;
    my $sent = 0;
    $t->wait_for(sub {
        my $s = $t->status;
        return $s && $s->{pid} == $t->proc('indexer')->pid
            && $s->{state} eq 'ready' && $s->{height} == $height;
    }, 120, "ready at height $height");
    push @{ $time{ready} }, time - $from if !$o{sure};
    $t->wait_for(sub {
        my ($tip) = pipeline(['blockchain.headers.get_tip']);
        $tip && $tip->{result}{height} == $height;
    }, 30, "height $height served");
    push @{ $time{served} }, time - $from if !$o{sure};
}

sub kill_worker {
    my @pids = $t->worker_pids;
    return if !@pids;
    kill KILL => $pids[rand @pids];
    $n{kills}++;
    $n{workers}++;
}

# ---- the end ----------------------------------------------------------------

sub report {
    note join ', ', map {"$_ $n{$_}"} sort keys %n;
    for my $what (sort keys %time) {
        my @all = sort { $a <=> $b } @{ $time{$what} };
        note sprintf "restart to $what: %d times, median %.2f s, 99 %% %.2f s,"
            . ' most %.2f s', scalar @all, map { $all[$_ * $#all] } 0.5, 0.99, 1;
    }
}

sub whole {
    settle_all();
    my $log = $t->read_file('indexer.log');
    for my $what ('tidy: begin of a ', 'tidy: end of a ') {
        my $times = () = $log =~ /\Q$what/g;
        note "$times times: $what";
    }
    $t->stop_nginx;
    $t->stop_indexer;
    my $killed = check('--full --node --digest', $t->data);
    $t->start_indexer(%conf, data_dir => $t->path('fresh'),
        settle_batch => 1000);
    $t->wait_ready($node->height, 300);
    $t->stop_indexer;
    is($killed, check('--digest', $t->path('fresh')),
        'the index is one without kills');
}

# Up to the window, as a new index is: half a batch may be left.
sub settle_all {
    for (1 .. 2 * $SETTLE) {
        $t->wait_ready($node->height, 60);
        my $left = sub { $node->height - $WINDOW
                - $t->status->{settled_height} };
        $t->wait_for(sub { $left->() < $SETTLE }, 60, 'settled');
        return if $left->() == 0;
        $node->generate(1);
    }
}

sub check {
    my ($how, $dir) = @_;
    my $conf = $t->indexer_conf('check', %conf, data_dir => $dir);
    my $out = `@{[$t->build]}/electrumx-indexer check $how -c $conf`;
    is($? >> 8, 0, "check $how finds nothing");
    return $out =~ s/^generation.*\n//r;
}
