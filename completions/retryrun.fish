# The words before the cursor from the command on; fails where none has begun.
function __retryrun_command
    set -l words (commandline -opc)
    set -l is_value 0
    for i in (seq 2 (count $words))
        set -l word $words[$i]
        if test $is_value = 1
            set is_value 0
        else if string match -qr -- '^-[^-ntkd]*[ntkd]$|^(--retries|--attempts|--deadline|--timeout|--kill-after|--stop-signal|--idle-timeout|--healthy-after|--consecutive|--delay|--backoff|--multiplier|--max-delay|--delays|--jitter|--seed|--delay-from|--success-on|--retry-on|--stop-on|--otherwise|--retry-if|--policy|--stdin|--stdout|--log-dir|--tail|--spool-limit|--history|--report|--report-when|--redact|--log-format|--color|--live|--ci|--budget|--budget-store|--on-retry|--before-attempt|--on-success|--on-give-up|--hook-timeout|--job|--keep-runs|--keep-for|--leftovers|--process-group|--cgroup|--exit-code|--config|--show-job|--retry-job|--stop-job|--rerun-job|--generate)$' $word
            set is_value 1
        else if test "$word" = --
            string escape -- $words[(math $i + 1)..]
            return 0
        else if not string match -q -- '-*' $word
            string escape -- $words[$i..]
            return 0
        end
    end
    return 1
end

# Completes the command as it would be without us.
function __retryrun_complete_command
    set -l words (__retryrun_command)
    # In one word, since what is completed may look like an option of `complete`.
    complete --do-complete=(string join ' ' -- $words (commandline -ct))
end

complete -c retryrun -n 'not __retryrun_command >/dev/null' -s n -l retries -d 'Retries after the first attempt [default: 3]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l attempts -d 'The same limit, counted with the first attempt' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l deadline -d 'Limit on the whole run [default: none]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -s t -l timeout -d 'Limit on one attempt [default: none]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -s k -l kill-after -d 'Grace between the stop signal and SIGKILL [default: 5s]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l idle-timeout -d 'Limit on the silence of an attempt [default: none]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l healthy-after -d 'Count anew after an attempt that ran this long [default: none]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l consecutive -d 'Successes in a row that are needed [default: 1]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -s d -l delay -d 'Wait before the first retry [default: 5s]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l backoff -d 'How the wait grows [default: exponential]' -r -f -a "constant\t''
linear\t''
exponential\t''
fibonacci\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l multiplier -d 'Growth of the exponential backoff [default: 2]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l max-delay -d 'Cap on any wait [default: 5m]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l delays -d 'The waits written out; the last one repeats' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l seed -d 'Makes jitter repeatable [default: random]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l delay-from -d 'Wait as the command\'s output asks for [default: none]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l success-on -d 'These endings count as success' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l retry-on -d 'These failures are transient; any other is permanent' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l stop-on -d 'These failures are permanent: no retry' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l otherwise -d 'What a failure is that no rule names' -r -f -a "retry\t''
stop\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l retry-if -d 'Ask a command of your own before a retry [default: none]' -r -f -a "(__fish_complete_command)"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l stdin -d 'What the command reads [default: auto]' -r -f -a "auto\t''
inherit\t''
null\t''
replay\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l stdout -d 'Where the command\'s stdout goes [default: stream]' -r -f -a "stream\t''
final\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l log-dir -d 'Keep what each attempt writes [default: none]' -r -f -a "(__fish_complete_directories)"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l tail -d 'How much of the end of stderr the history keeps' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l spool-limit -d 'Limit on the input that is kept for a replay [default: none]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l history -d 'When the JSON history is printed [default: failure]' -r -f -a "failure\t''
always\t''
never\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l report -d 'Write a report of the run to a file' -r -F
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l report-when -d 'When reports are written [default: always]' -r -f -a "failure\t''
always\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l redact -d 'Write *** for what matches' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l log-format -d 'The form of what retryrun prints [default: text]' -r -f -a "text\t''
json\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l color -d 'Colours in what retryrun prints [default: auto]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l live -d 'The status line [default: auto]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l ci -d 'The CI system to speak to [default: auto]' -r -f -a "auto\t''
github\t''
gitlab\t''
azure\t''
buildkite\t''
none\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l budget -d 'Share retries with all runs that name this budget [default: none]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l budget-store -d 'Where machines share their budgets [default: none]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l on-retry -d 'Run a command of your own as each wait begins' -r -f -a "(__fish_complete_command)"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l before-attempt -d 'Run a command of your own before each retry' -r -f -a "(__fish_complete_command)"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l on-success -d 'Run a command of your own after a success' -r -f -a "(__fish_complete_command)"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l on-give-up -d 'Run a command of your own when the run ends without success' -r -f -a "(__fish_complete_command)"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l hook-timeout -d 'Limit on a hook, and on --retry-if [default: 30s]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l job -d 'Keep the run\'s state under a name' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l keep-runs -d 'How many ended runs are kept, in all [default: 100]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l keep-for -d 'How long an ended run is kept [default: 30d]' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l leftovers -d 'What becomes of processes left behind [default: auto]' -r -f -a "auto\t''
keep\t''
kill\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l process-group -d 'The process group of the command [default: auto]' -r -f -a "auto\t''
inherit\t''
new\t''
session\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l cgroup -d 'A folder in which attempts get cgroups [default: none]' -r -f -a "(__fish_complete_directories)"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l exit-code -d 'Another exit status for an outcome' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l config -d 'Read this configuration file, too' -r -F
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l show-job -d 'Print the history of a named run' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l retry-job -d 'End the wait of a named run' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l stop-job -d 'Stop a named run' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l rerun-job -d 'Run an ended named run again' -r -f
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l generate -d 'Print a file that retryrun comes with' -r -f -a "man\t''
complete-bash\t''
complete-zsh\t''
complete-fish\t''
complete-elvish\t''
complete-powershell\t''
schema\t''
schema-events\t''
config\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l jitter -d 'Chance in it: none, full, N%, ... [default: none]' -r -f -a "none\t''
full\t''
equal\t''
decorrelated\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l stop-signal -d 'What ends an attempt first [default: SIGTERM]' -r -f -a "SIGHUP\t''
SIGINT\t''
SIGQUIT\t''
SIGILL\t''
SIGTRAP\t''
SIGABRT\t''
SIGBUS\t''
SIGFPE\t''
SIGKILL\t''
SIGUSR1\t''
SIGSEGV\t''
SIGUSR2\t''
SIGPIPE\t''
SIGALRM\t''
SIGTERM\t''
SIGSTKFLT\t''
SIGCHLD\t''
SIGCONT\t''
SIGSTOP\t''
SIGTSTP\t''
SIGTTIN\t''
SIGTTOU\t''
SIGURG\t''
SIGXCPU\t''
SIGXFSZ\t''
SIGVTALRM\t''
SIGPROF\t''
SIGWINCH\t''
SIGIO\t''
SIGPWR\t''
SIGSYS\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l policy -d 'A named set of options [default: auto]' -r -f -a "auto\t''
none\t''
ansible-playbook\t''
apt-get\t''
aria2c\t''
aws\t''
az\t''
bundle\t''
cargo\t''
cargo-test\t''
curl\t''
dig\t''
dnf\t''
docker\t''
gcloud\t''
gem\t''
git\t''
go\t''
go-test\t''
gpg-keys\t''
helm\t''
hg\t''
kubectl\t''
make\t''
mysql\t''
nc\t''
network\t''
nextest\t''
npm\t''
pg_dump\t''
pg_isready\t''
ping\t''
pip\t''
podman\t''
psql\t''
pytest\t''
rclone\t''
redis-cli\t''
rsync\t''
s3cmd\t''
scp\t''
sqlite3\t''
ssh\t''
svn\t''
sysexits\t''
terraform\t''
timeout\t''
wget\t''"
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l hints -d 'Let the command say what it knows'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l c-locale -d 'Run the command with LC_ALL=C.UTF-8'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -s q -l quiet -d 'Print only errors and the history'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l budget-strict -d 'End the run where the store does not answer'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l fresh -d 'With --job, forget an unended run'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l no-config -d 'Read no configuration file'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l explain -d 'Run nothing; print settings, rules and waits'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l json -d 'With --explain or --jobs, print JSON'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l classify -d 'Judge the endings on stdin, one JSON object a line'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l jobs -d 'List the named runs'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l watch -d 'With --jobs, keep them on the screen'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -s h -d 'Print the most used options, on one screen'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -l help -d 'Print all options'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -s V -l version -d 'Print the version'
complete -c retryrun -n 'not __retryrun_command >/dev/null' -s v -l verbose -d 'Print more, e.g. each attempt as it starts'
complete -c retryrun -x -a '(__retryrun_complete_command)'
