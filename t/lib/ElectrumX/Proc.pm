package ElectrumX::Proc;

# Child processes of a test: started in a process group of their own, stopped
# by pid, never by name.  Nothing outlives the test: each child gets a parent
# death signal (setpriv), and an END block stops what is still running, also
# after die() or a signal.
#
#   my $p = ElectrumX::Proc->start(
#       name => 'indexer', cmd => [$program, @arguments],
#       log  => "$dir/indexer.log",       # stdout and stderr, appended
#       env  => { NAME => 'value' },      # undef removes the variable
#       death => 'TERM',                  # parent death signal, default KILL
#       user => 'nobody',                 # drop root first (setpriv)
#       fsize => 1_000_000,               # RLIMIT_FSIZE in bytes
#       data => 100_000_000,              # RLIMIT_DATA, 1 MB stacks
#       input => '',                      # stdin is /dev/null otherwise
#   );
#   $p->pid; $p->running; $p->signal('HUP');
#   $p->stop;            # TERM, wait, KILL; returns the wait status ($?)
#   $p->kill_hard;       # KILL the whole group and reap
#   $p->wait(10);        # wait for it to end by itself; undef on timeout
#   $p->status;          # wait status after it ended
#   my ($out, $status) = ElectrumX::Proc->run(cmd => [...], timeout => 30);

use strict;
use warnings;
use POSIX ();
use Time::HiRes qw(sleep time);

my %running;    # pid -> object, of this process only
my $owner = $$;

sub start {
    my ($class, %o) = @_;
    my $self = bless {%o, status => undef, stopped => 0}, $class;
    my $log = $o{log} // '/dev/null';
    open my $out, '>>', $log or die "$log: $!";
    local $! = 0;
    my $pid = fork // die "fork: $!";
    _child($self, $out) if !$pid;
    setpgrp $pid, $pid;
    $self->{pid} = $pid;
    $running{$pid} = $self;
    return $self;
}

# In the child: never returns.
sub _child {
    my ($self, $out) = @_;
    setpgrp 0, 0;
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
    open STDIN, '<', $self->{stdin} // '/dev/null' or POSIX::_exit(126);
    open STDOUT, '>&', $out or POSIX::_exit(126);
    open STDERR, '>&', $out or POSIX::_exit(126);
    my $env = $self->{env} || {};
    for my $name (keys %$env) {
        defined $env->{$name}
            ? ($ENV{$name} = $env->{$name}) : delete $ENV{$name};
    }
    chdir $self->{cwd} if $self->{cwd};
    my @cmd = (_wrapper($self), @{ $self->{cmd} });
    { no warnings 'exec'; exec {$cmd[0]} @cmd; }
    print STDERR "exec $cmd[0]: $!\n";
    POSIX::_exit(127);
}

# Small programs in front of the command: limits, user, death signal.
sub _wrapper {
    my ($self) = @_;
    my @w;
    push @w, 'prlimit', "--fsize=$self->{fsize}", '--' if $self->{fsize};
    push @w, 'prlimit', "--data=$self->{data}", '--stack=1048576', '--'
        if $self->{data};
    push @w, 'setpriv', '--pdeathsig', $self->{death} || 'KILL';
    if (defined $self->{user}) {
        push @w, "--reuid=$self->{user}", "--clear-groups";
        my $gid = (getpwnam $self->{user})[3];
        push @w, "--regid=$gid" if defined $gid;
    }
    return (@w, '--');
}

sub pid    { $_[0]{pid} }
sub name   { $_[0]{name} // $_[0]{cmd}[0] }
sub status { $_[0]{status} }
sub stopped_by_us { $_[0]{stopped} }

sub running {
    my ($self) = @_;
    $self->_reap;
    return !defined $self->{status};
}

sub _reap {
    my ($self) = @_;
    return if defined $self->{status};
    my $r = waitpid $self->{pid}, POSIX::WNOHANG();
    return if $r == 0;
    $self->{status} = $r == $self->{pid} ? $? : -1;
    delete $running{ $self->{pid} };
}

sub signal {
    my ($self, $sig) = @_;
    return $self->running ? kill($sig, $self->{pid}) : 0;
}

# Waits until the process has ended by itself; its status, undef on timeout.
sub wait {
    my ($self, $timeout) = @_;
    my $end = time + $timeout;
    while ($self->running) {
        return undef if time > $end;
        sleep 0.01;
    }
    return $self->{status};
}

sub stop {
    my ($self, %o) = @_;
    return $self->{status} if !$self->running;
    $self->{stopped} = 1;
    kill $o{signal} || 'TERM', $self->{pid};
    if (!defined $self->wait($o{timeout} || 20)) {
        $self->{killed} = 1;
        kill 'KILL', -$self->{pid};
        $self->wait(5);
    }
    kill 'KILL', -$self->{pid};    # what it left in its group
    return $self->{status};
}

sub kill_hard {
    my ($self) = @_;
    $self->{stopped} = 1;
    kill 'KILL', -$self->{pid} if $self->running;
    return $self->wait(5);
}

# Runs a command to its end; (output, status), status -1 on timeout.
sub run {
    my ($class, %o) = @_;
    pipe my $r, my $w or die "pipe: $!";
    my $log = $o{log};
    my $p = $class->start(%o, log => "/dev/fd/" . _keep($w));
    close $w;
    my ($out, $end) = ('', time + ($o{timeout} || 60));
    while (1) {
        my $left = $end - time;
        last if $left <= 0;
        vec(my $set = '', fileno $r, 1) = 1;
        next if !select $set, undef, undef, $left < 0.2 ? $left : 0.2;
        last if !sysread $r, $out, 65536, length $out;
    }
    my $status = $p->wait($end > time ? $end - time : 0.1);
    $p->kill_hard if !defined $status;
    return ($out, $status // -1);
}

# The write end must be open in the parent while start() reopens it.
sub _keep { return fileno $_[0] }

# Orphans of our children become ours, so that none can hide: prctl(
# PR_SET_CHILD_SUBREAPER, 1).
sub adopt_orphans {
    require Config;
    my %number = (x86_64 => 157, aarch64 => 167);
    my ($arch) = grep { $Config::Config{archname} =~ /$_/ } keys %number;
    syscall $number{$arch}, 36, 1, 0, 0, 0 if $arch;
}

# Children and adopted grandchildren that still run: "pid name".
sub left_behind {
    my @found;
    for my $list (glob "/proc/$$/task/*/children") {
        open my $fh, '<', $list or next;
        for my $pid (split ' ', scalar(<$fh>) // '') {
            waitpid($pid, POSIX::WNOHANG()) == $pid and next;
            open my $stat, '<', "/proc/$pid/stat" or next;
            my ($name, $state) = (scalar(<$stat>) // '')
                =~ /^\d+ \((.*)\) (\S)/ or next;
            push @found, "$pid $name" if $state ne 'Z';
        }
    }
    return @found;
}

sub all_running { return grep { $_->running } values %running }

sub stop_all {
    my @left = all_running();
    $_->{stopped} = 1, kill 'TERM', $_->{pid} for @left;
    $_->stop for @left;
}

END {
    if ($$ == $owner) {
        my $code = $?;
        stop_all();
        $? = $code;
    }
}

1;
