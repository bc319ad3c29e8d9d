
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'retryrun' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'retryrun'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'retryrun' {
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'Retries after the first attempt [default: 3]')
            [CompletionResult]::new('--retries', '--retries', [CompletionResultType]::ParameterName, 'Retries after the first attempt [default: 3]')
            [CompletionResult]::new('--attempts', '--attempts', [CompletionResultType]::ParameterName, 'The same limit, counted with the first attempt')
            [CompletionResult]::new('--deadline', '--deadline', [CompletionResultType]::ParameterName, 'Limit on the whole run [default: none]')
            [CompletionResult]::new('-t', '-t', [CompletionResultType]::ParameterName, 'Limit on one attempt [default: none]')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'Limit on one attempt [default: none]')
            [CompletionResult]::new('-k', '-k', [CompletionResultType]::ParameterName, 'Grace between the stop signal and SIGKILL [default: 5s]')
            [CompletionResult]::new('--kill-after', '--kill-after', [CompletionResultType]::ParameterName, 'Grace between the stop signal and SIGKILL [default: 5s]')
            [CompletionResult]::new('--idle-timeout', '--idle-timeout', [CompletionResultType]::ParameterName, 'Limit on the silence of an attempt [default: none]')
            [CompletionResult]::new('--healthy-after', '--healthy-after', [CompletionResultType]::ParameterName, 'Count anew after an attempt that ran this long [default: none]')
            [CompletionResult]::new('--consecutive', '--consecutive', [CompletionResultType]::ParameterName, 'Successes in a row that are needed [default: 1]')
            [CompletionResult]::new('-d', '-d', [CompletionResultType]::ParameterName, 'Wait before the first retry [default: 5s]')
            [CompletionResult]::new('--delay', '--delay', [CompletionResultType]::ParameterName, 'Wait before the first retry [default: 5s]')
            [CompletionResult]::new('--backoff', '--backoff', [CompletionResultType]::ParameterName, 'How the wait grows [default: exponential]')
            [CompletionResult]::new('--multiplier', '--multiplier', [CompletionResultType]::ParameterName, 'Growth of the exponential backoff [default: 2]')
            [CompletionResult]::new('--max-delay', '--max-delay', [CompletionResultType]::ParameterName, 'Cap on any wait [default: 5m]')
            [CompletionResult]::new('--delays', '--delays', [CompletionResultType]::ParameterName, 'The waits written out; the last one repeats')
            [CompletionResult]::new('--seed', '--seed', [CompletionResultType]::ParameterName, 'Makes jitter repeatable [default: random]')
            [CompletionResult]::new('--delay-from', '--delay-from', [CompletionResultType]::ParameterName, 'Wait as the command''s output asks for [default: none]')
            [CompletionResult]::new('--success-on', '--success-on', [CompletionResultType]::ParameterName, 'These endings count as success')
            [CompletionResult]::new('--retry-on', '--retry-on', [CompletionResultType]::ParameterName, 'These failures are transient; any other is permanent')
            [CompletionResult]::new('--stop-on', '--stop-on', [CompletionResultType]::ParameterName, 'These failures are permanent: no retry')
            [CompletionResult]::new('--otherwise', '--otherwise', [CompletionResultType]::ParameterName, 'What a failure is that no rule names')
            [CompletionResult]::new('--retry-if', '--retry-if', [CompletionResultType]::ParameterName, 'Ask a command of your own before a retry [default: none]')
            [CompletionResult]::new('--stdin', '--stdin', [CompletionResultType]::ParameterName, 'What the command reads [default: auto]')
            [CompletionResult]::new('--stdout', '--stdout', [CompletionResultType]::ParameterName, 'Where the command''s stdout goes [default: stream]')
            [CompletionResult]::new('--log-dir', '--log-dir', [CompletionResultType]::ParameterName, 'Keep what each attempt writes [default: none]')
            [CompletionResult]::new('--tail', '--tail', [CompletionResultType]::ParameterName, 'How much of the end of stderr the history keeps')
            [CompletionResult]::new('--spool-limit', '--spool-limit', [CompletionResultType]::ParameterName, 'Limit on the input that is kept for a replay [default: none]')
            [CompletionResult]::new('--history', '--history', [CompletionResultType]::ParameterName, 'When the JSON history is printed [default: failure]')
            [CompletionResult]::new('--report', '--report', [CompletionResultType]::ParameterName, 'Write a report of the run to a file')
            [CompletionResult]::new('--report-when', '--report-when', [CompletionResultType]::ParameterName, 'When reports are written [default: always]')
            [CompletionResult]::new('--redact', '--redact', [CompletionResultType]::ParameterName, 'Write *** for what matches')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'The form of what retryrun prints [default: text]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours in what retryrun prints [default: auto]')
            [CompletionResult]::new('--live', '--live', [CompletionResultType]::ParameterName, 'The status line [default: auto]')
            [CompletionResult]::new('--ci', '--ci', [CompletionResultType]::ParameterName, 'The CI system to speak to [default: auto]')
            [CompletionResult]::new('--budget', '--budget', [CompletionResultType]::ParameterName, 'Share retries with all runs that name this budget [default: none]')
            [CompletionResult]::new('--budget-store', '--budget-store', [CompletionResultType]::ParameterName, 'Where machines share their budgets [default: none]')
            [CompletionResult]::new('--on-retry', '--on-retry', [CompletionResultType]::ParameterName, 'Run a command of your own as each wait begins')
            [CompletionResult]::new('--before-attempt', '--before-attempt', [CompletionResultType]::ParameterName, 'Run a command of your own before each retry')
            [CompletionResult]::new('--on-success', '--on-success', [CompletionResultType]::ParameterName, 'Run a command of your own after a success')
            [CompletionResult]::new('--on-give-up', '--on-give-up', [CompletionResultType]::ParameterName, 'Run a command of your own when the run ends without success')
            [CompletionResult]::new('--hook-timeout', '--hook-timeout', [CompletionResultType]::ParameterName, 'Limit on a hook, and on --retry-if [default: 30s]')
            [CompletionResult]::new('--job', '--job', [CompletionResultType]::ParameterName, 'Keep the run''s state under a name')
            [CompletionResult]::new('--keep-runs', '--keep-runs', [CompletionResultType]::ParameterName, 'How many ended runs are kept, in all [default: 100]')
            [CompletionResult]::new('--keep-for', '--keep-for', [CompletionResultType]::ParameterName, 'How long an ended run is kept [default: 30d]')
            [CompletionResult]::new('--leftovers', '--leftovers', [CompletionResultType]::ParameterName, 'What becomes of processes left behind [default: auto]')
            [CompletionResult]::new('--process-group', '--process-group', [CompletionResultType]::ParameterName, 'The process group of the command [default: auto]')
            [CompletionResult]::new('--cgroup', '--cgroup', [CompletionResultType]::ParameterName, 'A folder in which attempts get cgroups [default: none]')
            [CompletionResult]::new('--exit-code', '--exit-code', [CompletionResultType]::ParameterName, 'Another exit status for an outcome')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read this configuration file, too')
            [CompletionResult]::new('--show-job', '--show-job', [CompletionResultType]::ParameterName, 'Print the history of a named run')
            [CompletionResult]::new('--retry-job', '--retry-job', [CompletionResultType]::ParameterName, 'End the wait of a named run')
            [CompletionResult]::new('--stop-job', '--stop-job', [CompletionResultType]::ParameterName, 'Stop a named run')
            [CompletionResult]::new('--rerun-job', '--rerun-job', [CompletionResultType]::ParameterName, 'Run an ended named run again')
            [CompletionResult]::new('--generate', '--generate', [CompletionResultType]::ParameterName, 'Print a file that retryrun comes with')
            [CompletionResult]::new('--jitter', '--jitter', [CompletionResultType]::ParameterName, 'Chance in it: none, full, N%, ... [default: none]')
            [CompletionResult]::new('--stop-signal', '--stop-signal', [CompletionResultType]::ParameterName, 'What ends an attempt first [default: SIGTERM]')
            [CompletionResult]::new('--policy', '--policy', [CompletionResultType]::ParameterName, 'A named set of options [default: auto]')
            [CompletionResult]::new('--hints', '--hints', [CompletionResultType]::ParameterName, 'Let the command say what it knows')
            [CompletionResult]::new('--c-locale', '--c-locale', [CompletionResultType]::ParameterName, 'Run the command with LC_ALL=C.UTF-8')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print only errors and the history')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print only errors and the history')
            [CompletionResult]::new('--budget-strict', '--budget-strict', [CompletionResultType]::ParameterName, 'End the run where the store does not answer')
            [CompletionResult]::new('--fresh', '--fresh', [CompletionResultType]::ParameterName, 'With --job, forget an unended run')
            [CompletionResult]::new('--no-config', '--no-config', [CompletionResultType]::ParameterName, 'Read no configuration file')
            [CompletionResult]::new('--explain', '--explain', [CompletionResultType]::ParameterName, 'Run nothing; print settings, rules and waits')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'With --explain or --jobs, print JSON')
            [CompletionResult]::new('--classify', '--classify', [CompletionResultType]::ParameterName, 'Judge the endings on stdin, one JSON object a line')
            [CompletionResult]::new('--jobs', '--jobs', [CompletionResultType]::ParameterName, 'List the named runs')
            [CompletionResult]::new('--watch', '--watch', [CompletionResultType]::ParameterName, 'With --jobs, keep them on the screen')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print the most used options, on one screen')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print all options')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print the version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print the version')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Print more, e.g. each attempt as it starts')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Print more, e.g. each attempt as it starts')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
