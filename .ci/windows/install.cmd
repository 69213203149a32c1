@echo off
rem Makes the virtual environment from the wheels beside this file, and the service. As administrator.
rem Needs Python 3.11 to 3.13 for all users, and WinSW-x64.exe as jharnet-agent.exe. Not tested.
cd /d "%~dp0"
py -3 -m venv venv || exit /b 1
venv\Scripts\pip --isolated install --no-index --no-deps --require-hashes --find-links wheels -r lock.txt || exit /b 1
if not exist "%ProgramData%\jharnet-agent" mkdir "%ProgramData%\jharnet-agent"
if exist jharnet-agent.exe jharnet-agent.exe install
