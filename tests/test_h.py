import time
from commands import *
def test_a(tiny_model, tiny_task, tmp_path):
    t=time.time(); s=Started("run","--model",tiny_model,"--task",tiny_task,"--seeds",3,"--workers",1,"--out",tmp_path/"o",folder=tmp_path)
    print(s.wait()); print(time.time()-t); t=time.time()
    s=Started("run","--model",tiny_model,"--task",tiny_task,"--seeds",3,"--workers",1,"--out",tmp_path/"o2",folder=tmp_path)
    print(s.wait()); print(time.time()-t)
    assert 0
