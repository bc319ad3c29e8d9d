
use builtin;
use str;

set edit:completion:arg-completer[retryrun] = {|@words|
    use re
    var is-value = $false
    for i [(range 1 (- (count $words) 1))] {
        var word = $words[$i]
        if $is-value {
            set is-value = $false
        } elif (re:match '^-[^-ntkd]*[ntkd]$|^(--retries|--attempts|--deadline|--timeout|--kill-after|--stop-signal|--idle-timeout|--healthy-after|--consecutive|--delay|--backoff|--multiplier|--max-delay|--delays|--jitter|--seed|--delay-from|--success-on|--retry-on|--stop-on|--otherwise|--retry-if|--policy|--stdin|--stdout|--log-dir|--tail|--spool-limit|--history|--report|--report-when|--redact|--log-format|--color|--live|--ci|--budget|--budget-store|--on-retry|--before-attempt|--on-success|--on-give-up|--hook-timeout|--job|--keep-runs|--keep-for|--leftovers|--process-group|--cgroup|--exit-code|--config|--show-job|--retry-job|--stop-job|--rerun-job|--generate)$' $word) {
            set is-value = $true
        } elif (eq $word --) {
            edit:complete-sudo sudo (all $words[(+ $i 1)..])
            return
        } elif (not (str:has-prefix $word -)) {
            edit:complete-sudo sudo (all $words[$i..])
            return
        }
    }
    if (and (not $is-value) (not (str:has-prefix $words[-1] -))) {
        edit:complete-sudo sudo $words[-1]
        return
    }
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'retryrun'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'retryrun'= {
            cand -n 'Retries after the first attempt [default: 3]'
            cand --retries 'Retries after the first attempt [default: 3]'
            cand --attempts 'The same limit, counted with the first attempt'
            cand --deadline 'Limit on the whole run [default: none]'
            cand -t 'Limit on one attempt [default: none]'
            cand --timeout 'Limit on one attempt [default: none]'
            cand -k 'Grace between the stop signal and SIGKILL [default: 5s]'
            cand --kill-after 'Grace between the stop signal and SIGKILL [default: 5s]'
            cand --idle-timeout 'Limit on the silence of an attempt [default: none]'
            cand --healthy-after 'Count anew after an attempt that ran this long [default: none]'
            cand --consecutive 'Successes in a row that are needed [default: 1]'
            cand -d 'Wait before the first retry [default: 5s]'
            cand --delay 'Wait before the first retry [default: 5s]'
            cand --backoff 'How the wait grows [default: exponential]'
            cand --multiplier 'Growth of the exponential backoff [default: 2]'
            cand --max-delay 'Cap on any wait [default: 5m]'
            cand --delays 'The waits written out; the last one repeats'
            cand --seed 'Makes jitter repeatable [default: random]'
            cand --delay-from 'Wait as the command''s output asks for [default: none]'
            cand --success-on 'These endings count as success'
            cand --retry-on 'These failures are transient; any other is permanent'
            cand --stop-on 'These failures are permanent: no retry'
            cand --otherwise 'What a failure is that no rule names'
            cand --retry-if 'Ask a command of your own before a retry [default: none]'
            cand --stdin 'What the command reads [default: auto]'
            cand --stdout 'Where the command''s stdout goes [default: stream]'
            cand --log-dir 'Keep what each attempt writes [default: none]'
            cand --tail 'How much of the end of stderr the history keeps'
            cand --spool-limit 'Limit on the input that is kept for a replay [default: none]'
            cand --history 'When the JSON history is printed [default: failure]'
            cand --report 'Write a report of the run to a file'
            cand --report-when 'When reports are written [default: always]'
            cand --redact 'Write *** for what matches'
            cand --log-format 'The form of what retryrun prints [default: text]'
            cand --color 'Colours in what retryrun prints [default: auto]'
            cand --live 'The status line [default: auto]'
            cand --ci 'The CI system to speak to [default: auto]'
            cand --budget 'Share retries with all runs that name this budget [default: none]'
            cand --budget-store 'Where machines share their budgets [default: none]'
            cand --on-retry 'Run a command of your own as each wait begins'
            cand --before-attempt 'Run a command of your own before each retry'
            cand --on-success 'Run a command of your own after a success'
            cand --on-give-up 'Run a command of your own when the run ends without success'
            cand --hook-timeout 'Limit on a hook, and on --retry-if [default: 30s]'
            cand --job 'Keep the run''s state under a name'
            cand --keep-runs 'How many ended runs are kept, in all [default: 100]'
            cand --keep-for 'How long an ended run is kept [default: 30d]'
            cand --leftovers 'What becomes of processes left behind [default: auto]'
            cand --process-group 'The process group of the command [default: auto]'
            cand --cgroup 'A folder in which attempts get cgroups [default: none]'
            cand --exit-code 'Another exit status for an outcome'
            cand --config 'Read this configuration file, too'
            cand --show-job 'Print the history of a named run'
            cand --retry-job 'End the wait of a named run'
            cand --stop-job 'Stop a named run'
            cand --rerun-job 'Run an ended named run again'
            cand --generate 'Print a file that retryrun comes with'
            cand --jitter 'Chance in it: none, full, N%, ... [default: none]'
            cand --stop-signal 'What ends an attempt first [default: SIGTERM]'
            cand --policy 'A named set of options [default: auto]'
            cand --hints 'Let the command say what it knows'
            cand --c-locale 'Run the command with LC_ALL=C.UTF-8'
            cand -q 'Print only errors and the history'
            cand --quiet 'Print only errors and the history'
            cand --budget-strict 'End the run where the store does not answer'
            cand --fresh 'With --job, forget an unended run'
            cand --no-config 'Read no configuration file'
            cand --explain 'Run nothing; print settings, rules and waits'
            cand --json 'With --explain or --jobs, print JSON'
            cand --classify 'Judge the endings on stdin, one JSON object a line'
            cand --jobs 'List the named runs'
            cand --watch 'With --jobs, keep them on the screen'
            cand -h 'Print the most used options, on one screen'
            cand --help 'Print all options'
            cand -V 'Print the version'
            cand --version 'Print the version'
            cand -v 'Print more, e.g. each attempt as it starts'
            cand --verbose 'Print more, e.g. each attempt as it starts'
        }
    ]
    $completions[$command]
}
