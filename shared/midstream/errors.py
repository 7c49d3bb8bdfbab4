"""The base class of all errors that midstream raises on purpose, and the tree of its subclasses.

MidstreamError
├── PluginError             a plug-in cannot be found, or its options are wrong
├── PlayerError             a player broke its rules; the message names it
│   └── LearningError       a player could not learn what it needs before the game
├── HostError               a host could not provide what a player asked its view for
├── UnknownNetworkError     torchvision or timm has no such network, or is not installed
├── DerivativeError         a model's second derivatives cannot be computed correctly
├── DisagreementError       two computations that must agree do not
├── DivergedError           the training loss is no longer a number
├── AlarmError              a checker found a suspicious batch, and its action is to stop the run
├── DatasetError            a data set is not valid
│   └── DifferentDatasetError  two processes hold different data
├── MissingDataError        files of a data set are missing
├── OptimizerStateError     the state of an optimizer of your own cannot be saved or restored
├── UnmodelledStepError     no exact utility goes through a run's training step
├── RankError               the processes of a run cannot compute together
│   └── LostRankError       a connection between two of them broke
├── PoisonError             a file of perturbations cannot be read, or does not fit the game
├── SurrogateError          a black-box attacker's surrogate could not be trained
├── ScenarioError           a scenario file cannot be read
├── GridError               the grid of a sweep is not valid
├── TableError              a table of a sweep cannot be made
├── MergeError              results folders disagree on a trial
├── WorkerError             no worker of a sweep can be started
├── SweepError              trials of a sweep failed or are still to be played
├── RayError                a Ray cluster cannot be used
├── SettingError            a setting of `midstream.play` does not exist, or its value is wrong
├── GameError               a game ended early, or cannot go on
├── NotFinishedError        a folder holds no finished game
├── CellError               a cell of a table to reproduce does not exist, or cannot be played
├── ReproduceError          games of a table to reproduce failed
├── ExamplesError           examples cannot be copied
├── ShippedError            results that ship with midstream cannot be read
├── WireError               bytes received over the network are malformed
├── Problem                 a refusal as the protocol carries it: status, title, detail
├── ServerGoneError         a service does not answer
│   └── UntrustedServerError  its certificate cannot be verified
├── RunEndedError           the run ended before its provider had finished
├── OtherRunError           another run has taken the name of this one
├── PortError               a service cannot listen on its address
├── StorageError            something could not be stored
├── DamagedDatabaseError    a database is not what was written
├── DamagedRunError         a file of a run folder is not what was written
├── DamagedCheckpointError  a checkpoint is not what was written
├── BrokenSealError         a sealed JSON object was altered
└── ResumeError             a run cannot go on

Most of them also inherit from the built-in error that fits, so `except ValueError` and `except OSError` work
as usual. The `midstream` command prints any of them as one sentence. Any other exception that escapes is a
bug in midstream, and shows its traceback.
"""


class MidstreamError(Exception):
    """An error that midstream raises on purpose; the message says what was wrong and what to do.

    >>> from midstream import plugins
    >>> try:
    ...     plugins.make("attackers", "levle-1")
    ... except MidstreamError as error:
    ...     print(str(error).partition('?')[0])
    there is no attacker called 'levle-1'; did you mean 'level-1'
    """
