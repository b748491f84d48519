from .inference import Fuser as Fuser
from .inference import load_fuser as load_fuser
from .metrics import evaluate as evaluate
from .models import AdaSFFuse as AdaSFFuse
from .tasks import TASKS as TASKS

__version__: str
