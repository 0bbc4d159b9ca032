"""Bad input: exit code 2, the value, the hint, no traceback, nothing on disk. One row a mistake."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from forks import run_command

from lossfleet.sweeps.commands import run as commands
from lossfleet.sweeps.commands.cli import main
from lossfleet.sweeps.planning.compose import run_sweeper
from lossfleet.sweeps.planning.plan import Plan
from lossfleet.sweeps.running import size

TWO_CLASSES = "data=breast_cancer"

# The command line, then what the message must contain: the value that is wrong, and the hint.
ROWS = [
    # commands and options
    ("", "there is no command", "lossfleet sweep"),
    ("swep", "swep", "did you mean sweep?"),
    ("trian strategy=ce", "trian", "did you mean train?"),
    ("frobnicate", "frobnicate", "one of sweep, train, "),
    ("strategy=ce", "strategy=ce", "one of sweep, train, "),
    ("--frobnicate", "--frobnicate", "'lossfleet --help'"),
    ("sweep --frobnicate", "--frobnicate", "'lossfleet sweep --help'"),
    ("sweep -m strategy=ce", "-m", "'lossfleet sweep --help'"),
    ("train --multirun", "--multirun", "'lossfleet train --help'"),
    ("compare --metrics test_balanced_acuracy", "test_balanced_acuracy", "did you mean test_balanced_accuracy?"),
    ("compare --metrics test_mcc,corrected_mcc", "corrected_mcc", "did you mean test_corrected_mcc?"),
    ("compare --metrics test_recall", "'test_recall'", "did you mean"),
    ("compare --metrics test_mcc,", "''", "choose one of them"),
    ("compare --metrics test_mcc,test_g_mean,test_mcc", "test_mcc is there twice", "take the repeated one out"),
    ("compare --format tabel", "tabel", "one of terminal, md, csv, latex; choose one of them"),
    ("compare --format trminal", "trminal", "did you mean terminal?"),
    ("compare --format", "--format", "'lossfleet compare --help'"),
    ("compare --html nowhere/report.html", "nowhere does not exist", "--html report.html"),
    ("compare --html .", "is a folder", "--html report.html"),
    ("compare --figures /dev/null/figures", "/dev/null is no folder", "--figures figures"),
    ("compare --html", "--html", "'lossfleet compare --help'"),
    ("compare --rope -1", "-1", "--rope 0.01"),
    ("compare --rope nan", "nan", "--rope 0.01"),
    ("compare --rope wide", "wide", "--rope 0.01"),
    ("sweep evaluation.rope=-0.1", "-0.1", "evaluation.rope="),
    ("sweep evaluation.diverged=ignore", "ignore", "choose one of them"),
    ("sweep evaluation=nesting", "nesting", "did you mean nested?"),
    ("sweep evaluation=nested evaluation.outer_parts=1", "1", "evaluation.outer_parts=5"),
    ("sweep evaluation=nested evaluation.outer_parts=null", "null", "evaluation=nested"),
    ("sweep evaluation.outer_parts=3", "evaluation=resampled", "evaluation=nested"),
    ("sweep evaluation=nested evaluation.outer_part=6", "6", "leave evaluation.outer_part out"),
    ("sweep evaluation=nested evaluation.held_out=0.3", "evaluation=nested", "leave evaluation.held_out out"),
    ("sweep evaluation.held_out=0.3", "evaluation=resampled", "evaluation=holdout"),
    ("sweep evaluation=holdout evaluation.held_out=1", "1", "evaluation.held_out="),
    ("sweep evaluation=holdout evaluation.held_out=null", "null", "evaluation=holdout"),
    ("sweep evaluation=holdout evaluation.held_out=0.1", "0.1", "evaluation.held_out=0.4"),
    ("sweep evaluation=holdout evaluation.held_out=0.8", "0.8", "a sum below 1"),
    ("sweep decision=treshold", "treshold", "did you mean threshold?"),
    ("sweep decision=threshold decision.metric=mcc", "page_blocks with 5 classes", "data=breast_cancer"),
    (f"sweep decision=threshold {TWO_CLASSES}", "must be given", "decision.metric=f1[yes] or"),
    (f"sweep decision=threshold decision.metric=mcc decision.at_least='mcc>=0.5' {TWO_CLASSES}", "both", "or"),
    (f"sweep decision=threshold decision.metric=mc {TWO_CLASSES}", "'mc'", "did you mean mcc?"),
    (f"sweep decision=threshold decision.metric=f1 {TWO_CLASSES}", "'f1', which each class has", "f1[yes]"),
    (f"sweep decision=threshold decision.metric=f1[malign] {TWO_CLASSES}", "no class malign", "malignant?"),
    (f"sweep decision=threshold decision.metric=roc_auc {TWO_CLASSES}", "'roc_auc', which no", "f1[yes]"),
    (f"sweep decision=threshold decision.at_least='log_loss>=1' {TWO_CLASSES}", "'log_loss', which no", "recall[yes]"),
    (f"sweep decision=threshold decision.at_least='mcc<=1' {TWO_CLASSES}", "'mcc<=1'", "'recall[yes] >= 0.9'"),
    (f"sweep decision=threshold decision.at_least=mcc {TWO_CLASSES}", "decision.at_least is 'mcc'", "'recall[yes] >"),
    ("sweep decision.metric=mcc", "decision=argmax", "leave decision.metric out"),
    ("sweep decision=prior decision.costs={text:{picture:3}}", "decision=prior", "write decision=costs"),
    ("sweep decision=costs", "decision.costs must be given", "'decision.costs={yes:{no:10},no:{yes:1}}'"),
    ("sweep decision=costs decision.costs=3", "decision.costs is 3", "'decision.costs={yes:{no:10},"),
    ("sweep decision=costs decision.costs={}", "decision.costs is {}", "'decision.costs={yes:{no:10},"),
    ("sweep decision=costs decision.costs={text:3}", "{'text': 3}", "'decision.costs={yes:{no:10},"),
    ("sweep decision=costs decision.costs={text:{pictur:3}}", "no class pictur", "did you mean picture?"),
    ("sweep decision=costs decision.costs={txt:{picture:3}}", "no class txt", "did you mean text?"),
    ("sweep decision=costs decision.costs={text:{picture:-3}}", "is -3", "'decision.costs={text:{picture:10}}'"),
    ("sweep decision=costs decision.costs={text:{picture:inf}}", "is inf", "'decision.costs={text:{picture:10}}'"),
    ("sweep decision=costs decision.costs={text:{picture:high}}", "'high'", "'decision.costs={text:{picture:10}}'"),
    ("predict model rows.csv --decision guess", "guess", "choose one of them"),
    ("predict model rows.csv --decision threshold=1.5", "threshold=1.5", "--decision threshold=0.3"),
    ("evaluate model rows.csv --decision threshold=high", "threshold=high", "--decision threshold=0.3"),
    ("sweep data.repeated=dorp", "dorp", "did you mean drop?"),
    ("sweep data=wine data.group=hue", "data.group", "data=csv"),
    ("sweep data=csv data.path=a.csv data.target=y data.time=t data.part=p", "data.part", "leave data.part out"),
    ("ui --port 0", "0", "--port 5000"),
    ("ui --port 65536", "65536", "--port 5000"),
    ("ui --port http", "http", "--port 5000"),
    ("ui wine", "wine", "'lossfleet ui --help'"),
    ("synk", "synk", "did you mean sync?"),
    ("sync --all", "--all", "'lossfleet sync --help'"),
    ("sync --uri", "--uri", "'lossfleet sync --help'"),
    ("sweep --frsh", "--frsh", "'lossfleet sweep --help'"),
    ("train --fresh", "--fresh", "'lossfleet train --help'"),
    # sweeps and stores that are not there
    ("sync", "studies/", "run lossfleet sweep first"),
    ("sync wine-1", "wine-1", "run lossfleet sweep first"),
    # stores that are not there
    ("compare", "mlflow.db", "run lossfleet sweep first"),
    ("compare wine --format md", "mlflow.db", "run lossfleet sweep first"),
    ("compare --uri sqlite:///nowhere.db", "nowhere.db", "run lossfleet sweep first"),
    ("ui", "mlflow.db", "run lossfleet sweep first"),
    ("ui --uri sqlite:///nowhere.db", "nowhere.db", "run lossfleet sweep first"),
    # names of files
    ("sweep strategy=foca", "foca", "did you mean focal?"),
    ("sweep strategy=ce,weightedce", "weightedce", "did you mean weighted_ce?"),
    ("sweep strategy=ce,ce", "strategy=ce,ce", "write strategy=ce"),
    ("sweep strategy=null", "None", "?"),
    ("sweep strategy=", "there is no strategy", "others, which 'lossfleet sweep --help' lists"),
    ("sweep strategy=[ce,focal]", "'strategy=[ce,focal]' is a list", "write strategy=ce,focal"),
    ("sweep strategy=interval(0,1)", "strategy=interval(0,1)", "strategy=adasyn,asymmetric"),
    ("sweep data=wnie", "wnie", "did you mean wine?"),
    ("sweep data=wine,digitz", "digitz", "did you mean digits?"),
    ("sweep data=interval(0,1)", "data=interval(0,1)", "data=page_blocks,wine"),
    ("sweep sampler=smot", "smot", "did you mean smote?"),
    ("sweep sampler=smote,oversampel", "oversampel", "did you mean oversample?"),
    ("sweep loss=foca", "foca", "did you mean focal?"),
    ("sweep model=mpl", "mpl", "did you mean mlp?"),
    ("sweep augmentation=standard data=wine", "beside data=wine, whose rows are no images", "write augmentation=none"),
    ("sweep model=cnn data=wine", "given examples of 13 features", "choose model=mlp"),
    ("sweep model=resnet18 data=digits", "resnet18", "did you mean model=resnet_tiny?"),
    ("sweep model=cnn data=digits model.normalisation=batch", "'batch'", "write model.normalisation=group"),
    ("sweep optimizer=sgdd", "sgdd", "did you mean sgd?"),
    ("sweep search=tpee", "tpee", "did you mean tpe?"),
    ("sweep pruner=medain", "medain", "did you mean median?"),
    ("sweep experiment=quik", "quik", "did you mean quick?"),
    ("sweep experiment=quick,paper_grid", "quick,paper_grid", "did you mean paper_grid?"),
    ("train strategy=foca", "foca", "did you mean focal?"),
    ("train experiment=quik", "quik", "did you mean quick?"),
    # keys that do not exist
    ("sweep strategi=ce", "strategi", "did you mean strategy?"),
    ("sweep budgt.trials=3", "budgt", "write budget.trials=3"),
    ("sweep budget.trails=3", "budget.trails", "did you mean budget.trials?"),
    ("sweep loss.gama=2", "loss.gama", "did you mean loss.gamma?"),
    ("sweep optimizer.learning_rate=0.1", "optimizer.learning_rate", "write optimizer.lr=0.1"),
    ("sweep batchsize=3", "batchsize", "did you mean batch_size?"),
    ("sweep tracking.url=x", "tracking.url", "did you mean tracking.uri?"),
    ("sweep seed.x=3", "seed is {'x': 3}", "seed=0"),
    ("train modle.widths=[3]", "modle", "write 'model.widths=[3]'"),
    ("train loss.gama=2 strategy=focal", "loss.gama", "did you mean loss.gamma?"),
    # keys that the strategies do not have
    ("sweep strategy=ce loss.gamma=2", "loss.gamma", "loss=focal"),
    ("sweep strategy=ce,ohem loss.tau=interval(0,1)", "loss.tau", "leave loss.tau out"),
    ("sweep strategy=focal sampler.neighbors=3", "sampler.neighbors", "write sampler=adasyn"),
    ("sweep strategy=focal sampler.ratio=0.5", "sampler.ratio", "write sampler=adasyn"),
    ("sweep strategy=smote sampler.ratio=0", "sampler.ratio is 0", "sampler.ratio=1.0"),
    ("sweep strategy=undersample sampler.ratio=interval(0.1,1.5)", "1.5", "sampler.ratio"),
    ("sweep strategy=resampling sampler=smote sampler.exponent=1", "exponent", "sampler=class_balanced"),
    ("sweep strategy=focal loss=cross_entropy", "loss.gamma", "leave loss=... out"),
    ("train loss.gamma=2", "loss.gamma", "loss=focal"),
    # values out of range
    ("sweep loss.gamma=-1", "-1", "loss.gamma=1"),
    ("sweep loss.gamma=inf", "inf", "loss.gamma=1"),
    ("sweep loss.gamma=nan", "nan", "loss.gamma=1"),
    ("sweep loss.tau=-0.1", "-0.1", "loss.tau=1"),
    ("sweep loss.tau=3.5", "3.5", "loss.tau=1"),
    (f"sweep loss.alpha=0 {TWO_CLASSES}", "loss.alpha is 0", "loss.alpha=0.5"),
    (f"sweep loss.alpha=1 {TWO_CLASSES}", "loss.alpha is 1", "loss.alpha=0.5"),
    (f"sweep loss.alpha=25 {TWO_CLASSES}", "25", "loss.alpha=0.5"),
    ("sweep loss.alpha=0.25 data=wine", "wine with 3 classes", "data=breast_cancer"),
    ("sweep loss.beta=1", "loss.beta is 1", "loss.beta=0.5"),
    ("sweep mining.keep=0", "mining.keep is 0", "mining.keep=1"),
    ("sweep mining.keep=1.01", "1.01", "mining.keep=1"),
    ("sweep mining=ratio", "page_blocks with 5 classes", "data=breast_cancer"),
    (f"sweep mining=ratio mining.negatives_per_positive=0 {TWO_CLASSES}", "is 0", "negatives_per_positive=1"),
    ("sweep loss.class_weight=[1,2] data=wine", "2 numbers", "{class_0:1,class_1:1,class_2:1}"),
    (f"sweep loss.class_weight=[1,-2] {TWO_CLASSES}", "-2", "loss.class_weight=balanced"),
    (f"sweep loss.class_weight=3 {TWO_CLASSES}", "loss.class_weight is 3", "loss.class_weight=balanced"),
    ("sweep sampler.exponent=1.5", "1.5", "sampler.exponent=1.0"),
    ("sweep sampler.neighbors=0", "sampler.neighbors is 0", "sampler.neighbors=5"),
    ("sweep optimizer.lr=0", "optimizer.lr is 0", "optimizer.lr=0.01"),
    ("sweep optimizer.weight_decay=-1e-3", "-0.001", "optimizer.weight_decay=0.0001"),
    ("sweep model.dropout=1", "model.dropout is 1", "model.dropout=0.0"),
    ("sweep model.widths=[8,0]", "contains 0", "model.widths=[32,32]"),
    ("sweep batch_size=0", "batch_size is 0", "batch_size=64"),
    ("sweep data.long_tail=1", "data.long_tail is 1", "data.long_tail=100"),
    ("sweep data.test_fraction=0.9", "data.test_fraction=0.9", "data.test_fraction=0.2"),
    ("sweep seed=-1", "-1", "seed=0"),
    ("sweep fleet.slots=0", "fleet.slots is 0", "fleet.slots=32"),
    ("sweep fleet.processes=0", "fleet.processes is 0", "fleet.processes=2"),
    ("sweep fleet.fused=perhaps", "perhaps", "fleet.fused=true"),
    ("sweep name=a/b", "a/b", "name=first_try"),
    ("train strategy=focal loss.gamma=-1", "-1", "loss.gamma=1"),
    ("train optimizer.lr=-0.1", "-0.1", "optimizer.lr=0.01"),
    # the budget
    ("sweep budget.trials=0", "budget.trials is 0", "budget.trials=40"),
    ("sweep budget.replicates=6", "budget.replicates is 6", "budget.replicates=5"),
    ("sweep budget.final_replicates=11", "budget.final_replicates is 11", "budget.final_replicates=10"),
    ("sweep budget.search_seeds=[]", "budget.replicates is 3", "add seeds to budget.search_seeds"),
    ("sweep budget.search_seeds=[1,1,2]", "[1]", "budget.search_seeds=[1,2]"),
    ("sweep budget.search_seeds=[1,2,100]", "[100]", "take 100 out of budget.final_seeds"),
    ("sweep budget.search_seeds=7", "budget.search_seeds is 7", "budget.search_seeds=[0,1,2,3,4]"),
    ("sweep budget.rungs=31", "budget.rungs is 31", "budget.rungs=30"),
    ("sweep pruner=hyperband pruner.reduction_factor=0", "reduction_factor", "correct its settings"),
    ("sweep search.metric=acuracy", "acuracy", "did you mean accuracy?"),
    ("sweep references=[dumy]", "there is no reference dumy", "did you mean dummy?"),
    ("sweep references=dummy", "references is 'dummy'", "references=[dummy,logistic]"),
    ("sweep references=[dummy,dummy]", "references is ['dummy', 'dummy']", "references=[dummy,logistic]"),
    ("sweep search.metric=f1", "'f1', which each class has", "f1[yes] for the class yes"),
    ("sweep search.metric=f1[txt]", "there is no class txt", "did you mean text?"),
    ("sweep search.metric=mcc[text]", "mcc is of all classes together", "write mcc"),
    ("sweep search.metrics=[mcc,recal[text]] pruner=none", "'recal[text]'", "did you mean recall?"),
    ("sweep search.constraint='recall[txt]>=0.5'", "there is no class txt", "did you mean text?"),
    ("sweep search=grid", "search=grid", "search=tpe"),
    # the search
    ("sweep search=cma", "cma", "did you mean cmaes?"),
    ("sweep pruner=wilcoxn", "wilcoxn", "did you mean wilcoxon?"),
    ("sweep search.sampler=bayes", "there is no setting search.sampler", "one of search.concurrent_trials"),
    ("sweep search.metrics=[mcc,mcc] pruner=none", "[mcc,mcc]", "search.metrics=[balanced_accuracy,"),
    ("sweep search.metrics=[] pruner=none", "search.metrics is []", "search.metrics=[balanced_accuracy,"),
    ("sweep search.metrics=mcc pruner=none", "search.metrics is 'mcc'", "write search.metrics=[mcc]"),
    ("sweep search.metrics=[mcc,brier] pruner=none", "'brier'", "did you mean brier_score?"),
    ("sweep search.metrics=[mcc,g_mean]", "pruner=median", "pruner=none"),
    ("sweep search.metrics=[mcc,g_mean] pruner=none search=cmaes", "search=cmaes", "search=nsga2"),
    ("sweep search.metrics=[mcc,g_mean] search.metric=macro_f1 pruner=none", "macro_f1", "leave search.metric"),
    ("sweep search.constraint=rarest_recall", "'rarest_recall'", "rarest_recall >= 0.5"),
    ("sweep search.constraint='rarest_recall>0.5'", "rarest_recall>0.5", "rarest_recall >= 0.5"),
    ("sweep search.constraint='rarest_recall>=1.2.3'", "1.2.3", "rarest_recall >= 0.5"),
    ("sweep search.constraint='rarest_recal>=0.5'", "rarest_recal", "did you mean rarest_recall?"),
    ("sweep search.constraint=['mcc>=0','mcc>=half']", "mcc>=half", "rarest_recall >= 0.5"),
    ("sweep search.constraint=3", "search.constraint is '3'", "search.constraint='rarest_recall >= 0.5'"),
    ("sweep search.enqueue=3", "search.enqueue is 3", "search.enqueue=[{loss.gamma:2"),
    ("sweep search.enqueue=[3]", "search.enqueue is [3]", "search.enqueue=[{loss.gamma:2"),
    ("sweep search.enqueue=[{loss.gama:2}]", "loss.gama", "did you mean loss.gamma?"),
    ("sweep search.enqueue=[{loss.gamma:7}]", "loss.gamma=7", "widen the space"),
    ("sweep search.enqueue=[{loss.gamma:two}]", "loss.gamma='two'", "widen the space"),
    ("sweep search.enqueue=[{sampler:shuffle}]", "sampler='shuffle'", "widen the space"),
    ("sweep strategy=focal loss.gamma=2 search.enqueue=[{loss.gamma:2}]", "loss.gamma", "leave loss.gamma out"),
    ("sweep search.enqueue=[{sampler:smote,sampler.exponent:1}]", "sampler='smote'", "leave sampler.exponent out"),
    ("sweep budget.trials=1 search.enqueue=[{loss.gamma:1},{loss.gamma:2}]", "2 points", "budget.trials=2"),
    ("sweep pruner=wilcoxon", "budget.replicates=3 can never prune", "budget.replicates=4"),
    ("sweep pruner=wilcoxon budget.replicates=5 pruner.p_threshold=0.03", "0.03125", "budget.replicates=6"),
    ("sweep pruner=percentile pruner.percentile=101", "Percentile", "correct its settings"),
    ("sweep pruner=wilcoxon pruner.p_threshold=0", "can never prune", "a larger pruner.p_threshold"),
    ("sweep budget.seconds=0", "budget.seconds is 0", "budget.seconds=600"),
    ("sweep budget.patience=0", "budget.patience is 0", "budget.patience=20"),
    ("sweep budget.patience=1.5", "1.5", "budget.patience=20"),
    ("sweep --config-dir nowhere", "nowhere", "starts from the working directory"),
    ("sweep search=nsga2 search.population_size=1", "population_size", "correct its settings"),
    ("sweep pruner=none pruner.warmup_rungs=2", "pruner=none", "leave pruner.warmup_rungs out"),
    ("sweep search.seed=3", "search.seed", "write seed=3"),
    ("sweep pruner.startup_trials=3", "pruner.startup_trials", "did you mean pruner.n_startup_trials?"),
    # settings of a table where there is none, or too few of them
    ("sweep data=csv", "no data.path", "data.path=table.csv"),
    ("sweep data=images", "data=images has no data.path", "data=images data.path=FOLDER"),
    ("sweep data=npz data.path=a.npz", "no such file or folder", "working directory"),
    ("sweep data=npz data.path=s3://b/a.npz", "an address", "download it first"),
    ("sweep data=images data.path=a data.channels=2", "data.channels is 2", "data.channels=1"),
    ("sweep data=idx data.path=a data.size=0", "data.size is 0", "data.size="),
    ("sweep data=csv data.path=t.csv", "no data.target", "data.target=label"),
    ("sweep data=wine data.path=t.csv", "there is no setting data.path", "write data=boxes or csv"),
    ("sweep data=csv data.path=t.csv data.target=y", "no such file", "working directory"),
    ("train data.drop=[id]", "there is no setting data.drop", "leave data.drop out"),
    ("train data=csv data.path=t.csv data.target=3", "there is no such file", "correct data.path"),
    # wrong types
    ("sweep loss.gamma=two", "two", "loss.gamma=1"),
    ("sweep loss.gamma=", "loss.gamma is ''", "loss.gamma=1"),
    ("sweep loss.gamma=true", "true", "loss.gamma=1"),
    ("sweep loss.gamma=[1,2]", "[1, 2]", "loss.gamma=1"),
    ("sweep loss.gamma=null", "null", "loss.gamma=1"),
    ("sweep budget.trials=many", "many", "budget.trials=40"),
    ("sweep budget.trials=2.5", "2.5", "budget.trials=40"),
    ("sweep tracking.enabled=perhaps", "perhaps", "tracking.enabled=false"),
    ("sweep budget=3", "budget is 3", "budget.trials=3"),
    ("sweep loss={gamma:1}", "{'gamma': 1}", "others, which 'lossfleet sweep --help' lists"),
    # distributions
    ("sweep loss.gamma=interval(-1,5)", "loss.gamma=interval(-1.0,5.0)", "narrow it"),
    ("sweep loss.gamma=interval(5,1)", "interval(5,1)", "loss.gamma=interval(1,5)"),
    ("sweep loss.gamma=interval(0,inf)", "interval(0,inf)", "loss.gamma=interval(0.1,1)"),
    ("sweep mining.keep=interval(0,1)", "reaches 0.0", "narrow it"),
    (f"sweep strategy=focal loss.alpha=interval(0.1,1) {TWO_CLASSES}", "reaches 1.0", "narrow it"),
    ("sweep loss.gamma=0,1,-2", "-2", "loss.gamma=1"),
    ("sweep loss.gamma=1,1.0", "loss.gamma=1,1.0", "take the repeated one out"),
    ("sweep loss.gamma=range(1,5,-1)", "range(1,5,-1)", "range(0,10,2)"),
    ("sweep optimizer.lr=tag(log,interval(0,1))", "interval(0,1)", "tag(log,interval(1e-4,1e-1))"),
    ("sweep optimizer.lr=tag(lgo,interval(1,2))", "tag(lgo,interval(1,2))", "tag(log,interval(low,high))"),
    ("sweep batch_size=interval(16,64.5)", "64.5", "use whole numbers"),
    ("sweep budget.trials=10,20", "budget.trials=10,20", "once for each budget.trials"),
    ("sweep seed=interval(1,2)", "seed=interval(1,2)", "once for each seed"),
    ("sweep data.long_tail=interval(2,9)", "data.long_tail=interval(2,9)", "data.long_tail=a,b"),
    (f"sweep loss.tau=1 loss.alpha=0.3 {TWO_CLASSES}", "loss.tau and loss.alpha", "keep loss.tau"),
    ("sweep strategy=ohem loss.keep=0.5", "loss.keep", "mining.keep, of mining=fraction; write mining.keep=0.5"),
    ("sweep loss=ohem", "there is no loss ohem", "did you mean strategy=ohem?"),
    ("sweep strategy=ce data=wine,digits name=both", "both", "leave name out"),
    ("sweep space={}", "space={}", "loss.gamma=interval(0,5)"),
    ("sweep space.loss.gamma=3", "space.loss.gamma=3", "loss.gamma=interval(0,5)"),
    ("train loss.gamma=1,2 strategy=focal", "loss.gamma=1,2", "lossfleet sweep"),
    ("train strategy=ce,focal", "strategy=ce,focal", "lossfleet sweep"),
    # engines and workers
    ("sweep engine=rya", "rya", "did you mean ray?"),
    ("sweep engine.workers=2", "engine.workers is 2", "write engine=ray"),
    ("sweep engine.storage=sqlite:///x.db", "engine=local", "leave engine.storage out"),
    ("sweep engine.native=maybe", "maybe", "auto, on, off"),
    ("sweep engine=ray engine.workers=0", "engine.workers is 0", "engine.workers=8"),
    ("sweep engine=ray engine.heartbeat=0", "engine.heartbeat is 0", "engine.heartbeat=5.0"),
    ("sweep engine=ray engine.address=auto", "no engine.storage", "engine.storage=postgresql"),
    ("sweep engine=workers", "no engine.storage", "engine.storage=postgresql"),
    ("sweep engine=workers engine.storage=sqlite:///x.db engine.workers=2", "engine.workers", "engine=ray"),
    ("worker", "sweep", "'lossfleet worker --help'"),
    ("worker first", "--storage", "'lossfleet worker --help'"),
    ("worker first --storage nowhere", "nowhere", "postgresql+psycopg2://"),
    ("worker first --storage mysql://db/sweeps", "mysql://db/sweeps", "postgresql+psycopg2://"),
    ("worker first --storage postgresql+psycopg2://a@127.0.0.1:1/b", "127.0.0.1:1", "~/.pgpass"),
    ("worker first --storage postgresql+psycopg2://a:secret@127.0.0.1:1/b", "a:***@", "~/.pgpass"),
    ("worker first --storage sqlite:///nowhere.db", "nowhere.db", "engine=workers"),
    # malformed overrides
    ("sweep strategy=focal loss.gamma=[0,1,2]", "is [0, 1, 2]", "'loss.gamma=0,1,2'"),
    ("sweep strategy=focal loss.gamma=choice([0,2])", "is [0, 2]", "'loss.gamma=interval(0,2)' for all between"),
    ("sweep optimizer.lr=[1e-3,1e-2]", "is [0.001, 0.01]", "'optimizer.lr=0.001,0.01'"),
    ("sweep batch_size=[16,32]", "batch_size is [16, 32]", "'batch_size=16,32'"),
    ("sweep model.dropout=[0.1]", "is [0.1]", "'model.dropout=0.1'"),
    ("sweep strategy=focal loss.gamma=normal(0,5)", "normal(0,5)", "'loss.gamma=interval(0,5)'"),
    ("sweep data=csv data.path=a.csv data.target=y data.drop=x", "data.drop is 'x'", "write data.drop=[x]"),
    ("sweep data=csv data.path=größe.csv data.target=类别", "größe.csv, and there is no", "correct data.path"),
    ("sweep data.taget=类别", "'data.taget=类别' cannot be read", "data.taget='类别'"),
    ("sweep data=csv data.path=a.csv data.taget='类别'", "data.taget", "did you mean data.target?"),
    ("sweep loss.gamma", "'loss.gamma'", "quote it for the shell"),
    ("sweep =3", "'=3'", "quote it for the shell"),
    ("sweep loss.gamma=interval(0,5", "interval(0,5", "quote it for the shell"),
    ("sweep loss.gamma=intervl(0,5)", "intervl", "'loss.gamma=interval(0,5)'"),
    ("sweep loss.gamma=interval(a,5)", "interval(a,5)", "quote it for the shell"),
    ("sweep loss.gamma=choice()", "choice()", "quote it for the shell"),
    ("sweep +loss.gamma=3", "+loss.gamma=3", "loss.gamma=3"),
    ("sweep ++loss.gamma=3", "++loss.gamma=3", "loss.gamma=3"),
    ("sweep ~loss.gamma", "~loss.gamma", "loss.gamma=null"),
    ("sweep loss@here=focal", "loss@here=focal", "loss=focal"),
    ("sweep budget.rungs=${budget.epocs}", "budget.epocs", "--print-config"),
    ("sweep tracking.uri=${oc.env:LOSSFLEET_NOWHERE}", "LOSSFLEET_NOWHERE", "--print-config"),
    ("sweep hydra.searchpath=[file:///nowhere]", "/nowhere", "--print-config"),
    ("sweep hydra/sweeper=basic", "hydra/sweeper=basic", "hydra.searchpath="),
    ("sweep hydra.run.dir=here", "hydra.run.dir=here", "hydra.searchpath="),
    ("train hydra.run.dir=here", "hydra.run.dir=here", "hydra.searchpath="),
]  # fmt: skip


GOOD = "x,w,y\n" + "".join(f"{row}.5,{'ab'[row % 2]},{'pq'[row % 3 == 0]}\n" for row in range(24))
TABLE_COLUMNS = GOOD.splitlines()[1:]


def with_column(name: str, cells: list[str]) -> str:
    """The good table with a column in front."""
    return f"{name},x,w,y\n" + "".join(
        f"{cell},{line}\n" for cell, line in zip(cells, TABLE_COLUMNS, strict=True)
    )


def with_target(cells: list[str]) -> str:
    """The good table with another target."""
    return "x,w,y\n" + "".join(
        f"{line[:-1]}{cell}\n" for cell, line in zip(cells, TABLE_COLUMNS, strict=True)
    )


# The file's name and content (None: there is no file), arguments, then the value and the hint.
TABLE_ROWS = [
    ("t.csv", None, "", "no such file", "working directory"),
    ("t.json", GOOD, "", "t.json", "as CSV or Parquet"),
    ("t.csv", "", "", "t.csv is empty", "correct data.path"),
    ("t.csv", "x,w,y\n", "", "no rows below its header", "write the table again"),
    ("t.csv", "x,w,y", "", "no rows below its header", "write the table again"),
    ("t.csv.gz", GOOD, "", "cannot be read as CSV", "write the table again"),
    ("t.parquet", GOOD, "", "cannot be read as Parquet", "write the table again"),
    ("t.csv", GOOD.encode() + b"1.5,\xfc,p\n", "data.encoding=utf-8", "0xfc at position 216, in line 26", "gb18030"),
    ("t.csv", GOOD.replace("a,p", "a,\0"), "", "byte 0x00", "iconv"),
    ("t.csv", GOOD + '1.5,"a,p\n', "", "quotation in row 25 that is opened", "close the quotation"),
    ("t.csv", GOOD + "1.5,a,b,p\n", "", "row 25 of t.csv has 4 cells: '1.5,a,b,p'", "needs quotation marks"),
    ("t.csv", GOOD + "1.5,p\n", "", "row 25 of t.csv has 2 cells", "correct the row"),
    ("t.csv", GOOD.replace("x,w,y", "x,w,label"), "data.target=lable", "'lable'", "did you mean label?"),
    ("t.csv", GOOD.replace(",", ";"), "data.separator=tab", "'y'", "data.separator says otherwise"),
    ("t.csv", GOOD, "data.drop=[xx]", "data.drop names 'xx'", "did you mean x?"),
    ("t.csv", GOOD, "data.categorical=[xw]", "data.categorical names 'xw'", "did you mean x?"),
    ("t.csv", GOOD, "data.drop=[y]", "data.drop contains 'y'", "take y out"),
    ("t.csv", GOOD, "data.drop=[x,w]", "no column with values beside y", "out of data.drop"),
    ("t.csv", GOOD.replace("3.5,", "3.5 kg,", 1), "", "'3.5 kg' in row 4, and numbers in 23 of its 24", "[x]"),
    ("t.csv", GOOD.replace("3.5,", "-inf,", 1), "", "'x' has -inf in row 4", "leave the cell empty"),
    ("t.csv", GOOD.replace("3.5,", "1e99,", 1), "", "'x' has 1e+99 in row 4", "data.drop=[x]"),
    ("t.csv", with_target(["p"] * 24), "", "one class, p", "choose another data.target"),
    ("t.csv", with_target(["p"] * 23 + ["q"]), "", "class 'q' (1 row)", "bring more rows of each class"),
    ("t.csv", with_target([*("p" * 12), *("q" * 9), *"rrs"]), "", "'r' (2 rows), 's' (1 row)", "data.rare=drop"),
    ("t.csv", with_target([*("p" * 12), *("q" * 8), *"rrss"]), "", "'r' (2 rows), 's' (2 rows)", "data.rare=join"),
    ("t.csv", with_target([*("p" * 12), *("q" * 11), "r"]), "data.rare=join", "one class alone", "data.rare=drop"),
    ("t.csv", with_target([*("p" * 22), *"qr"]), "data.rare=drop", "leaves fewer than two classes", "bring more rows"),
    ("t.csv", GOOD, "data.rare=merge", "data.rare is 'merge'", "one of refuse, drop, join"),
    ("t.csv", with_target([*("p" * 20), *("q" * 4)]), "data.long_tail=20", "leaves class 'q'", "data.long_tail=6"),
    ("t.csv", with_target(["p", ""] * 12), "data.unlabelled=refuse", "in 12 of 24 rows: 2, 4, 6, 8, 10, ...", "fill"),
    ("t.csv", with_target([str(row / 8) for row in range(24)]), "", "0.125 in row 2", "such as low and high"),
    ("t.csv", with_target([str(row) for row in range(24)]), "", "more than 20 different", "fewer classes"),
    ("t.csv", with_target([f"c{row}" for row in range(24)]), "", "more than 20 different", "fewer classes"),
    ("t.csv", with_target(["0", "inf"] * 12), "", "inf in row 2", "correct the row"),
    ("t.csv", GOOD, "data.digest=0123456789abcdef", "was 0123456789abcdef", "leave data.digest out"),
    ("t.csv", with_target(["p", "q", "r"] * 8), "strategy=focal loss.alpha=0.3", "with 3 classes", "data=breast"),
    ("t.csv", GOOD, "strategy=focal loss.class_weight=[1,2,3]", "has 3 numbers", "loss.class_weight=balanced"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def check(code: int | str | None, out: str, err: str, value: str, hint: str) -> None:
    assert code == 2, err
    assert out == ""
    assert err.startswith("lossfleet: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert value in err
    assert "; expected " in err
    assert hint in err.split("; expected ", 1)[1]
    assert list(Path.cwd().rglob("*")) == []


@pytest.mark.parametrize(("line", "value", "hint"), ROWS, ids=[row[0] or "nothing" for row in ROWS])
def test_bad_input_says_what_is_wrong_and_how_to_mend_it(line, value, hint, capsys, monkeypatch):
    monkeypatch.setattr(commands, "run_plans", lambda plans, **options: pytest.fail("the sweep ran"))
    monkeypatch.setitem(sys.modules, "lossfleet.sweeps.commands.train", None)
    code = main(line.split())
    printed = capsys.readouterr()
    check(code, printed.out, printed.err, value, hint)


@pytest.mark.parametrize(
    ("name", "content", "arguments", "value", "hint"), TABLE_ROWS, ids=range(len(TABLE_ROWS))
)
def test_bad_tables_say_what_is_wrong_and_where(
    name, content, arguments, value, hint, tmp_path_factory, capsys, monkeypatch
):
    monkeypatch.setattr(commands, "run_plans", lambda plans, **options: pytest.fail("the sweep ran"))
    monkeypatch.setitem(sys.modules, "lossfleet.sweeps.commands.train", None)
    path = tmp_path_factory.mktemp("tables") / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code = main(["train", "data=csv", f"data.path={path}", "data.target=y", *arguments.split()])
    printed = capsys.readouterr()
    # Where the table can be read and not be split, what was read of it comes first.
    *read, error = printed.err.splitlines(keepends=True)
    assert not read or read[0].startswith(f"{name}: ")
    check(code, printed.out, error, value, hint)


def test_lists_of_parquet_are_refused(tmp_path_factory, capsys):
    import pandas as pd

    path = tmp_path_factory.mktemp("tables") / "t.parquet"
    for column, value, hint in (([[1]] * 24, "is of type list", "data.drop=[when]"),):
        pd.DataFrame({"when": column, "x": range(24), "y": ["p", "q"] * 12}).to_parquet(path)
        code = main(["train", "data=csv", f"data.path={path}", "data.target=y"])
        printed = capsys.readouterr()
        check(code, printed.out, printed.err, value, hint)


# In a directory with the sweep "old", of strategy ce on wine, as after a sweep: refused by the whole sweep.
WITH_A_SWEEP = [
    ("sync odl", "odl", "did you mean old?"),
    ("sync old --uri ./mlruns", "./mlruns", "tracking.uri=sqlite:///mlflow.db"),
    ("sync old --uri sqlite:///no/where.db", "no/where.db", "make the folder"),
    ("sweep name=old strategy=focal data=wine", "strategies: ce -> focal", "--fresh"),
    ("sweep name=old strategy=ce data=digits", "data.name: 'wine' -> 'digits'", "name=..."),
    ("sweep name=old strategy=ce data=wine batch_size=3 seed=4", "batch_size: 64 -> 3, seed: 0 -> 4", "--fresh"),
    ("sweep name=old strategy=ce data=wine optimizer.lr=0.1", "space.optimizer.lr: ", "--fresh"),
    ("sweep name=new strategy=ce data=wine tracking.uri=./mlruns", "./mlruns", "sqlite:///mlflow.db"),
    ("sweep name=new strategy=ce data=wine tracking.uri=htp://x", "htp://x", "http://127.0.0.1:5000"),
    ("sweep name=new strategy=ce data=wine tracking.uri=sqlite://", "sqlite://", "sqlite:///mlflow.db"),
    ("sweep name=new strategy=ce data=wine tracking.uri=ftp://a:secret@b/c", "a:***@b", "http://127.0.0.1:5000"),
    ("sweep name=new strategy=ce data=wine tracking.uri=sqlite:///no/where.db", "no/where.db", "make the folder"),
    ("sweep name=new strategy=ce data=wine data.long_tail=900", "long_tail=900", "write data.long_tail="),
    ("sweep --fresh name=old strategy=ce data=wine data.long_tail=900", "long_tail=900", "write data.long_tail="),
]  # fmt: skip


@pytest.fixture(scope="module")
def configuration() -> str:
    """The configuration that a sweep of strategy ce on wine stores."""
    plans: list[Plan] = []
    run_sweeper(["name=old", "strategy=ce", "data=wine"], plans.append)
    return yaml.safe_dump(plans[0].to_dict())


def contents() -> dict[Path, bytes | None]:
    """Every file of the working directory with what is in it, and every folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in Path.cwd().rglob("*")}


@pytest.mark.parametrize(("line", "value", "hint"), WITH_A_SWEEP, ids=[row[0] for row in WITH_A_SWEEP])
def test_bad_input_leaves_what_is_there_as_it_is(line, value, hint, configuration, capsys):
    folder = Path("studies/old")
    folder.mkdir(parents=True)
    for name in ("lock", "trainers.lock", "tracking.lock", "records.jsonl"):
        (folder / name).touch()
    (folder / "config.yaml").write_text(configuration)
    before = contents()
    code = main(line.split())
    printed = capsys.readouterr()
    assert contents() == before
    for path in sorted(before, reverse=True):
        path.rmdir() if before[path] is None else path.unlink()
    check(code, printed.out, printed.err, value, hint)


def test_all_faults_are_told_at_once_a_line_each(capsys):
    assert main(["sweep", "lr=0.1", "epochs=5", "strategy=foca"]) == 2
    assert [line.partition(";")[0] for line in capsys.readouterr().err.splitlines()] == [
        "lossfleet: error: there is no setting lr",
        "lossfleet: error: there is no setting epochs",
        "lossfleet: error: there is no strategy foca",
    ]
    assert list(Path.cwd().iterdir()) == []


def test_every_row_is_a_mistake_of_its_own():
    assert len({line for line, _, _ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("line", "value", "hint"),
    [
        ("swep", "swep", "did you mean sweep?"),
        ("sweep strategy=foca", "foca", "did you mean focal?"),
        ("sweep loss.gamma=-1", "-1", "loss.gamma=1"),
        ("sweep engine=ray tracking.uri=http://127.0.0.1:1", "http://127.0.0.1:1", "mlflow server"),
        ("sweep engine=ray engine.address=127.0.0.1:1 engine.storage=postgresql://db/a", ":1", "ray start"),
        ("sweep engine=ray engine.address=here engine.storage=postgresql://db/a", "here", "ray start"),
        ("sweep engine=workers engine.storage=nowhere", "nowhere", "postgresql+psycopg2://"),
        ("sweep data=wine fleet.fused=true fleet.processes=2", "g++", "leave fleet.fused out"),
        ("train budget.replicates=9", "9", "budget.replicates=5"),
        ("compare", "mlflow.db", "run lossfleet sweep first"),
    ],
)
def test_bad_input_to_a_process_of_its_own(line, value, hint, workdir, tmp_path_factory):
    # Without a compiler, what one has made before, and anything else that a shell would find.
    cache = str(tmp_path_factory.mktemp("cache"))
    ended = run_command(line.split(), workdir, PATH="", XDG_CACHE_HOME=cache)
    assert list(workdir.iterdir()) == []
    check(ended.returncode, ended.stdout, ended.stderr, value, hint)


def test_a_sweep_that_wants_the_native_core_is_refused_where_there_is_none(capsys, monkeypatch):
    # In this process, since a process of its own would find what is installed.
    monkeypatch.setattr(size, "native_obstacle", lambda source: "g++ is not on the path")
    code = main(["sweep", "data=wine", "engine.native=on"])
    printed = capsys.readouterr()
    check(code, printed.out, printed.err, "g++", "engine.native=off")
